// Package push carries messages directly between hosts, beside the store: a
// change of a host's attachments reaches its peers in milliseconds and also
// while the store is away, and a host that has died is noticed within seconds.
// It is a short cut and nothing depends on it: the store remains how hosts learn
// of each other, and every document that is pushed is also published.
//
// # What is sent
//
// Over UDP, one datagram of at most 1200 bytes to each host that hears:
//
//	beat   each second: the number of the sender's newest document, whether the
//	       store answers it, and the number of its last request to probe paths
//	delta  one document, as soon as it has changed, and the number before it;
//	       only what is new in it, if the whole fits no datagram
//
// What still fits none is announced by a beat out of turn. Nothing is
// acknowledged, and no document is sent again: what is repeated is that there is
// one, in two beats out of turn after each change. A host that has not got what was
// announced waits a moment, in case it is on its way, and then asks the sender over
// TCP, on the same port number:
//
//	want   the number up to which it has everything
//	have   the newest number, the networks that the host is attached to, and
//	       how many documents follow
//	doc    one document
//
// A host that has fallen silent is asked twice a second by a TCP connection to that
// port. A machine that lives and has no weft refuses it; one that is dead, or cut
// off, does not answer.
//
// # Who may speak
//
// Every message is sealed with XChaCha20-Poly1305 under a key from the
// cluster's record, with the cluster's id, so only hosts that may read the
// store can make one. The key changes when a host leaves, see driver/keys; until all
// have the new one, each host is told by the newest that it has. A message counts only if
// it comes from the push address in its host's record; hosts send and ask from no
// other. A host that has no record, has left or was declared dead is refused, is sent
// nothing and is not answered.
//
// Inside the seal each host signs what it says (Ed25519), with a key of its own whose
// public half is in its record, so no member speaks for another. A host whose record
// has no key, of a weft that does not sign, is taken at its word; such a weft reads
// signed messages too.
//
// A document replaces another only if its number is higher, and a beat counts only
// if its number is, so a message that is heard twice, late or never does no harm.
// What a process before the one in its host's record said is old, also to a host
// that has just begun to hear. What the present process has said, and somebody says
// again, is old to a host that was started anew since, as each process has to
// introduce itself to each other one (fresh.go). A number far above what the store
// tells of the host, or what was heard last, does not count either: the store decides.
// An answer is bound to its question.
package push

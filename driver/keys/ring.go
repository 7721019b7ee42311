package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// Ring is the cluster's keys as one host knows them, or as the store has them.
type Ring struct {
	Generation uint64   // how many keys came after the first one
	Keys       []string // 32 random bytes in base64 each, the newest first
}

// ID names a key to those who have it, and tells nothing of it to others.
func ID(key string) string {
	sum := sha256.Sum256([]byte("weft key of direct messages\x00" + key))
	return hex.EncodeToString(sum[:8])
}

// Held is what a host that has the ring says of it in its record.
func (r Ring) Held() overlay.Keys {
	if len(r.Keys) == 0 {
		return overlay.Keys{}
	}
	return overlay.Keys{Generation: r.Generation, Newest: ID(r.Keys[0]), Count: len(r.Keys)}
}

// find gives the place of a key in the ring, or -1.
func (r Ring) find(id string) int {
	return slices.IndexFunc(r.Keys, func(key string) bool { return ID(key) == id })
}

// For gives the key by which a message to a host with these keys is sealed; empty:
// there is none.
func (r Ring) For(host overlay.Keys) string {
	if len(r.Keys) == 0 {
		return ""
	}
	return r.Keys[r.newestOf(host)]
}

// newestOf gives the place of the newest key that a host that is alive certainly has. One
// with a later ring has the newest of this one, for it waits for this host. Any other
// whose newest is not in the ring has the oldest that is: no key goes before those that
// are older. So has a weft that says nothing of its keys.
func (r Ring) newestOf(host overlay.Keys) int {
	i := r.find(host.Newest)
	if i < 0 && (host.Newest == "" || host.Generation <= r.Generation) {
		i = len(r.Keys) - 1
	}
	return max(0, i)
}

// Heard gives what is known of a host's keys once it has sealed something by the key
// with that id, which shows that it has it.
func (r Ring) Heard(host overlay.Keys, id string) overlay.Keys {
	now, was := r.find(id), r.find(host.Newest)
	if host.Newest != "" && now >= 0 && (was < 0 || now < was) {
		host.Newest = id
	}
	return host
}

// Behind says whether a host with these keys has seen a ring that is not of before this
// one.
func (r Ring) Behind(host overlay.Keys) bool {
	mine := r.Held()
	if host.Newest == "" || host.Generation < mine.Generation {
		return false
	}
	return host.Generation > mine.Generation || host.Newest != mine.Newest || host.Count < mine.Count
}

// Meet says what a host that knows r does when it finds another ring in the store: it
// takes that one over, or writes what is given. The latter is so if the store has gone
// back to an earlier generation, or to one beside: the keys of both are in it, since
// hosts may have taken over either.
func (r Ring) Meet(stored Ring) (ring Ring, write bool) {
	mine, theirs := r.Held(), stored.Held()
	if len(r.Keys) == 0 || theirs.Generation > mine.Generation ||
		theirs.Generation == mine.Generation && theirs.Newest == mine.Newest {
		return stored, false
	}
	first, second := r.Keys, stored.Keys
	if theirs.Generation == mine.Generation && len(stored.Keys) > 0 {
		first, second = second, first
	}
	out := Ring{Generation: r.Generation + 1, Keys: slices.Clone(first)}
	for _, key := range second {
		if !slices.Contains(out.Keys, key) {
			out.Keys = append(out.Keys, key)
		}
	}
	return out, true
}

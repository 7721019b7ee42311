package push

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// A signature is the last field of a message, so that a weft that knows none reads
// the message as it is. It is made over all before it.
const (
	signatureBegins = `,"sig":"`
	signatureEnds   = `"}`
)

// signatureLength is how much longer a message is with its signature.
var signatureLength = len(signatureBegins) + signatureCode.EncodedLen(ed25519.SignatureSize) + len(signatureEnds) - len("}")

var signatureCode = base64.RawStdEncoding

var errUnsigned = errors.New("not signed by its host")

// sign adds the signature to an encoded message; with no signer it stays as it is.
func (b *box) sign(plain []byte, purpose string, signer func([]byte) []byte) []byte {
	if signer == nil || len(plain) == 0 {
		return plain
	}
	plain = plain[:len(plain)-len("}")]
	out := slices.Concat(plain, []byte(signatureBegins))
	out = signatureCode.AppendEncode(out, signer(b.signed(plain, purpose)))
	return append(out, signatureEnds...)
}

// verify refuses a message that does not have the signature of the host with that
// public key, in base64. A host whose record has no key yet signs nothing that
// could be checked.
func (b *box) verify(plain []byte, purpose, key string) error {
	if key == "" {
		return nil
	}
	public, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return fmt.Errorf("its host's record has no public key, but %.60q", key)
	}
	at := len(plain) - len("}") - signatureLength
	if at < 0 {
		return errUnsigned
	}
	text, tail := plain[:at], string(plain[at:])
	code := tail[len(signatureBegins) : len(tail)-len(signatureEnds)]
	signature, err := signatureCode.DecodeString(code)
	if err != nil || tail != signatureBegins+code+signatureEnds || !ed25519.Verify(public, b.signed(text, purpose), signature) {
		return errUnsigned
	}
	return nil
}

// signed is what a signature is made over: a message of one cluster, for one purpose.
func (b *box) signed(plain []byte, purpose string) []byte {
	out := append([]byte("weft direct message\x00"), b.cluster...)
	out = binary.BigEndian.AppendUint16(append(out, 0), uint16(len(purpose))) //nolint:gosec // a purpose is a host's name and some bytes
	return append(append(out, purpose...), plain...)
}

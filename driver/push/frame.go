package push

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Limits of what is exchanged over TCP.
const (
	maxQuestion  = 1 << 10 // bytes of a want, sealed
	maxFrame     = 1 << 20 // bytes of any other message, sealed: twice what the store takes for a document
	maxDocuments = 1 << 14 // in one answer: networks of a host
	maxAnswer    = 64 << 20
)

// writeFrame writes a sealed message after its length, four bytes big-endian.
func writeFrame(w io.Writer, sealed []byte) error {
	if len(sealed) > maxFrame {
		return fmt.Errorf("a message of %d bytes is longer than %d", len(sealed), maxFrame)
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(sealed)), uint32(len(sealed)))
	if _, err := w.Write(append(out, sealed...)); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return nil
}

// readFrame reads what writeFrame wrote, at most limit bytes. Memory grows with
// what has come, not with what was announced.
func readFrame(r io.Reader, limit int64) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read a message's length: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > limit || n < overhead {
		return nil, fmt.Errorf("a message of %d bytes is refused, it takes %d to %d", n, overhead, limit)
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, n); err != nil {
		return nil, fmt.Errorf("read a message: %w", err)
	}
	return b.Bytes(), nil
}

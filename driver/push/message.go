package push

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
)

// kind is what a message says, see the package comment.
type kind string

const (
	beat  kind = "beat"
	delta kind = "delta"
	want  kind = "want"
	have  kind = "have"
	doc   kind = "doc"
)

// message is every message; which fields count depends on the kind.
type message struct {
	Kind        kind                `json:"k"`
	Host        string              `json:"h"` // who speaks
	Incarnation string              `json:"i"`
	Process     string              `json:"u,omitempty"`  // beat, delta: of the speaker, see fresh.go
	To          string              `json:"t,omitempty"`  // beat: the process to which the speaker introduces itself
	Ask         bool                `json:"e,omitempty"`  // beat: who hears it is to introduce itself
	Number      uint64              `json:"n,omitempty"`  // beat: of the message; delta: of the beat before it
	Seq         uint64              `json:"s,omitempty"`  // beat, have: the newest; want: all is there up to here
	StoreOK     bool                `json:"ok,omitempty"` // beat
	StoreFor    int64               `json:"ms,omitempty"` // beat: for how long it is so, ms
	Probe       uint64              `json:"q,omitempty"`  // beat: the speaker's last request to probe paths
	Rests       bool                `json:"r,omitempty"`  // beat: the last one, the speaker ends in order
	Away        bool                `json:"w,omitempty"`  // beat: and its machine shuts down
	After       uint64              `json:"a,omitempty"`  // delta: the number before the document's
	Patch       *patch              `json:"p,omitempty"`  // delta: Doc has only what is new in it
	Doc         *overlay.Attachment `json:"d,omitempty"`  // delta, doc
	Networks    []string            `json:"l,omitempty"`  // have: sorted
	Count       int                 `json:"c,omitempty"`  // have: documents that follow
}

func (m message) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a %s: %w", m.Kind, err)
	}
	return b, nil
}

// errSenseless is in decode's errors: the message is genuine, and of no use.
var errSenseless = errors.New("makes no sense")

// decode reads a message and checks that what its kind needs is there. A kind
// that is not known is an error: it is a newer version's, and not for this one.
func decode(b []byte) (message, error) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("decode a message: %w (%w)", errSenseless, err)
	}
	ok := m.Host != "" && m.Incarnation != ""
	switch m.Kind {
	case beat:
		ok = ok && m.Number > 0 && m.StoreFor >= 0
	case delta, doc:
		ok = ok && m.Doc != nil && m.Doc.Host == m.Host && m.Doc.Incarnation == m.Incarnation && m.Doc.Seq > m.After &&
			(m.Patch == nil || m.Kind == delta && m.Patch.Base < m.Doc.Seq && !m.Doc.Gone)
	case want:
	case have:
		ok = ok && m.Count >= 0 && m.Count <= maxDocuments
	default:
		ok = false
	}
	if !ok {
		return m, fmt.Errorf("a message of kind %.20q from host %.60q %w", m.Kind, m.Host, errSenseless)
	}
	return m, nil
}

// beat is the sign of life that was sealed by the key with that id.
func (m message) beat(key string) peers.Beat {
	return peers.Beat{
		Host: m.Host, Incarnation: m.Incarnation, Number: m.Number, Seq: m.Seq,
		StoreOK: m.StoreOK, StoreFor: time.Duration(m.StoreFor) * time.Millisecond, Probe: m.Probe, Rests: m.Rests, Away: m.Away, Key: key,
	}
}

package probe

import (
	"time"
)

// Row is what one host has heard.
type Row struct {
	Host  string            `json:"h"`
	Asked map[string]uint64 `json:"a"` // the requests that have not ended, by host
	Up    time.Duration     `json:"u"` // for how long it has listened since the newest of them, ns
	Heard map[string]Heard  `json:"p"` // by sender
}

// Heard is what has come from one sender, in packets.
type Heard struct {
	Small   Count `json:"s"`
	Full    Count `json:"f"`
	MTU     int   `json:"m,omitempty"` // bytes, as the sender tried
	Largest int   `json:"l,omitempty"` // bytes of the largest that came whole
	Final   bool  `json:"x,omitempty"` // the sender has found no larger one that comes
}

// Count counts packets of one size.
type Count struct {
	Sums    int `json:"c,omitempty"` // with a checksum
	Plain   int `json:"p,omitempty"` // without
	Damaged int `json:"d,omitempty"` // not as they were sent
}

// some says whether any has come, in whatever state.
func (c Count) some() bool { return c.Sums+c.Plain+c.Damaged > 0 }

// enough packets without one with a checksum mean that there will be none.
const enough = 3

// harmed says whether packets are damaged, or their checksums are.
func (c Count) harmed() bool { return c.Damaged > 0 || c.Sums == 0 && c.Plain >= enough }

func (h Heard) some() bool   { return h.Small.some() || h.Full.some() }
func (h Heard) harmed() bool { return h.Small.harmed() || h.Full.harmed() }

// well says whether all that is tried has come.
func (h Heard) well() bool { return h.Small.Sums > 0 && h.Full.Sums > 0 && !h.harmed() }

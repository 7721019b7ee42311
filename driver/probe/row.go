package probe

import (
	"time"
)

// Row is what one host has heard.
type Row struct {
	Host  string            `json:"h"`
	Asked map[string]uint64 `json:"a"` // the requests under way, by host
	Up    time.Duration     `json:"u"` // how long it has listened since the newest of them, ns
	Heard map[string]Heard  `json:"p"` // by sender
}

// Heard is what has come from one sender, in packets.
type Heard struct {
	Small   Count `json:"s"`
	Full    Count `json:"f"`
	MTU     int   `json:"m,omitempty"` // bytes, as the sender tried
	Largest int   `json:"l,omitempty"` // bytes of the largest that came whole
	Final   bool  `json:"x,omitempty"` // the sender has found that no larger one comes
}

// Count counts packets of one size.
type Count struct {
	Sums    int `json:"c,omitempty"` // with a checksum
	Plain   int `json:"p,omitempty"` // without
	Damaged int `json:"d,omitempty"` // not as they were sent
}

// some says whether any packet has come, damaged or not.
func (c Count) some() bool { return c.Sums+c.Plain+c.Damaged > 0 }

// After enough packets none of which has a checksum, none with one will come.
const enough = 3

// harmed says whether packets or their checksums are damaged.
func (c Count) harmed() bool { return c.Damaged > 0 || c.Sums == 0 && c.Plain >= enough }

func (h Heard) some() bool   { return h.Small.some() || h.Full.some() }
func (h Heard) harmed() bool { return h.Small.harmed() || h.Full.harmed() }

// well says whether all kinds of packets have come.
func (h Heard) well() bool { return h.Small.Sums > 0 && h.Full.Sums > 0 && !h.harmed() }

package probe

import (
	"errors"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// table is what this host has heard since the newest request. Safe for
// concurrent use.
type table struct {
	host string

	mu    sync.Mutex
	asked map[string]uint64
	since time.Time
	peers map[netip.Addr]string // by address in the probe network
	heard map[string]Heard
	said  map[string]int // by peer: the largest of this host's packets that has come there
	rows  map[string]arrival
}

// arrival is a row of another host.
type arrival struct {
	Row
	at time.Time // when it came
}

func newTable(host string) *table {
	return &table{host: host, heard: map[string]Heard{}, said: map[string]int{}, rows: map[string]arrival{}}
}

// expect says which peers are heard and which requests there are. With a new request
// everything is forgotten, and expect gives true.
func (t *table) expect(peers []overlay.ProbePeer, asked map[string]uint64, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = make(map[netip.Addr]string, len(peers))
	for _, p := range peers {
		t.peers[p.Addr] = p.Host
	}
	before := t.asked
	t.asked = asked
	news := before == nil
	for host, number := range asked {
		news = news || before[host] != number
	}
	if !news {
		return false
	}
	t.since = now
	clear(t.heard)
	clear(t.said)
	return true
}

// take counts a packet without headers. sums says whether it had a checksum.
func (t *table) take(p []byte, from netip.Addr, sums bool, now time.Time) {
	b, err := decode(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	host, known := t.peers[from]
	size := headers + len(p)
	h := t.heard[host]
	switch {
	case !known || t.asked == nil:
		return
	case errors.Is(err, errDamaged):
		if size >= max(h.MTU, smallest) {
			h.Full.Damaged++
		} else {
			h.Small.Damaged++
		}
		t.heard[host] = h
		return
	case err != nil || b.Host != host:
		return // of another version, or of a host that had this address before
	}
	h.MTU, h.Largest, h.Final = b.MTU, max(h.Largest, size), b.Final
	switch b.Kind {
	case small:
		h.Small.count(sums)
	case full:
		h.Full.count(sums)
	case search:
	}
	t.heard[host] = h
	t.said[host] = b.Largest
	if b.Row != nil && b.Row.Host == host {
		t.learnLocked(*b.Row, now)
	}
}

func (c *Count) count(sums bool) {
	if sums {
		c.Sums++
	} else {
		c.Plain++
	}
}

// learn takes over another host's row.
func (t *table) learn(r Row, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.learnLocked(r, now)
}

func (t *table) learnLocked(r Row, now time.Time) {
	old, has := t.rows[r.Host]
	if has && maps.Equal(old.Asked, r.Asked) && old.Up >= r.Up {
		return
	}
	t.rows[r.Host] = arrival{Row: r, at: now}
}

// row is what this host has heard so far.
func (t *table) row(now time.Time) Row {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Row{Host: t.host, Asked: t.asked, Up: now.Sub(t.since), Heard: maps.Clone(t.heard)}
}

// from is what has come from the host, and the largest of this host's packets
// that has come there.
func (t *table) from(host string) (h Heard, said int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heard[host], t.said[host]
}

// answers gives the rows that answer the request of this host, its own too.
func (t *table) answers(asked uint64, now time.Time) map[string]arrival {
	own := t.row(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	out := maps.Clone(t.rows)
	out[t.host] = arrival{Row: own, at: now}
	maps.DeleteFunc(out, func(_ string, a arrival) bool { return a.Asked[t.host] != asked })
	return out
}

package dataplane

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/nftables"
	mnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
)

// borderGuard keeps the host's table as it has to be. It has a lock of its own,
// so that a table which somebody deletes is made again while a pass is busy.
type borderGuard struct {
	ns  netns.NsHandle
	own ownSockets
	// dial are further options of the connection to nftables; tests break it.
	dial []nftables.ConnOption

	mu      sync.Mutex
	want    *border  // nil: nothing was asked for yet
	have    *border  // what the kernel holds; nil if that is not known
	gen     uint32   // of the kernel's rules when have was true
	watched bool     // somebody tells when the table is touched by others, and nobody has
	drifted []string // what mend has found and no pass has told yet
}

// set makes the table hold want, of which others' may stay if it is partial.
// drifted says what had been changed by others. Without verify the kernel is not
// read if what it holds is known.
func (g *borderGuard) set(want *border, partial, verify bool) (drifted []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() {
		drifted = append(g.drifted, drifted...)
		g.drifted = nil
		err = guardError(err)
	}()
	c, err := g.connect()
	if err != nil {
		return nil, err
	}
	if partial {
		have, err := newBorderTable(want).read(c, g.ns, want)
		if err != nil {
			return nil, err
		}
		if have != nil {
			want.add(have)
		}
		g.want, g.have = want, nil
		return nil, g.reach(c, have)
	}
	was := g.have
	g.want = want
	if err := g.look(c, verify); err != nil {
		return nil, err
	}
	if was != nil && was.sameRules(want) {
		drifted = was.differs(g.have)
	}
	return drifted, g.reach(c, g.have)
}

// watch tells whether others' changes of the table are being told.
func (g *borderGuard) watch(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched = on
}

// mend makes the table again if it is not what it was left as: somebody has
// touched it.
func (g *borderGuard) mend() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func(watched bool) { g.watched = watched }(g.watched)
	g.watched = false
	was := g.have
	if g.want == nil || was == nil || !was.sameRules(g.want) {
		return nil // no pass has made it yet, or the next one has to
	}
	c, err := g.connect()
	if err != nil {
		return guardError(err)
	}
	if err := g.look(c, true); err != nil {
		return guardError(err)
	}
	g.drifted = append(g.drifted, was.differs(g.have)...)
	return guardError(g.reach(c, g.have))
}

// remove takes the table out of the kernel.
func (g *borderGuard) remove() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.want, g.have = nil, nil
	c, err := g.connect()
	if err != nil {
		return guardError(err)
	}
	return newBorderTable(newBorder(0)).remove(c)
}

// guardError says what could not be guarded, and what that means.
func guardError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("guard the tunnels by nftables table inet weft: %w; no tunnel of this host is up until that is mended: see `weft doctor` for what the kernel lacks", err)
}

func (g *borderGuard) connect() (*nftables.Conn, error) {
	return nftables.New(append([]nftables.ConnOption{
		nftables.WithNetNSFd(int(g.ns)),
		nftables.WithSockOptions(func(c *mnetlink.Conn) error {
			g.own.add(c.PID())
			return nil
		}),
	}, g.dial...)...)
}

// look makes g.have what the kernel holds, nil if that is not as weft makes it.
// It reads only what may have changed: that is told while the table is watched,
// and each change of any rule in the namespace gives the kernel's rules another
// generation.
func (g *borderGuard) look(c *nftables.Conn, verify bool) error {
	if g.have != nil && g.have.sameRules(g.want) {
		if !verify || g.watched {
			return nil
		}
		gen, err := generation(g.ns)
		if err != nil {
			return err
		}
		if gen == g.gen {
			return nil
		}
	}
	g.have = nil
	gen, err := generation(g.ns) // before: what changes meanwhile is read again
	if err != nil {
		return err
	}
	if g.have, err = newBorderTable(g.want).read(c, g.ns, g.want); err != nil {
		return err
	}
	g.gen = gen
	return nil
}

// reach brings the table from have, nil if it is not as weft makes it, to want.
func (g *borderGuard) reach(c *nftables.Conn, have *border) error {
	before := g.gen
	t := newBorderTable(g.want)
	g.have = nil
	bring := t.create
	if have != nil {
		bring = func(c *nftables.Conn, want *border) (int, error) { return t.change(c, have, want) }
	}
	changes, err := bring(c, g.want)
	if err != nil {
		return err
	}
	g.have = g.want
	if changes == 0 {
		return nil
	}
	// Only if nobody else has changed anything in between is the generation now
	// that of what was just made; else the table is read the next time.
	gen, err := generation(g.ns)
	if err != nil {
		return err
	}
	if g.gen = gen; gen != before+uint32(changes) {
		g.gen = 0
	}
	return nil
}

// ownSockets are the last netlink sockets by which weft has changed rules, by
// their port ids: the kernel tells of a change by whom it was made.
type ownSockets struct {
	ids  [64]atomic.Uint32
	next atomic.Uint32
}

func (o *ownSockets) add(id uint32) { o.ids[o.next.Add(1)%uint32(len(o.ids))].Store(id) }

func (o *ownSockets) has(id uint32) bool {
	for i := range o.ids {
		if o.ids[i].Load() == id {
			return true
		}
	}
	return false
}

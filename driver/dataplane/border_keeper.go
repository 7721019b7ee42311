package dataplane

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/nftables"
	mnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netns"
)

// borderKeeper keeps the host's table as it has to be. It has a lock of its own,
// so that a table which somebody deletes is made again while a pass is busy.
type borderKeeper struct {
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

// set makes the table hold want. If partial, what else is in the table stays.
// drifted says what had been changed by others. Without verify the kernel is not
// read if what it holds is known.
func (k *borderKeeper) set(want *border, partial, verify bool) (drifted []string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() {
		drifted = append(k.drifted, drifted...)
		k.drifted = nil
		err = borderError(err)
	}()
	c, err := k.connect()
	if err != nil {
		return nil, err
	}
	if partial {
		have, err := newBorderTable(want).read(c, k.ns, want)
		if err != nil {
			return nil, err
		}
		if have != nil {
			want.add(have)
		}
		k.want, k.have = want, nil
		return nil, k.reach(c, have)
	}
	was := k.have
	k.want = want
	if err := k.look(c, verify); err != nil {
		return nil, err
	}
	if was != nil && was.sameRules(want) {
		drifted = was.differs(k.have)
	}
	return drifted, k.reach(c, k.have)
}

// watch tells whether others' changes of the table are being told.
func (k *borderKeeper) watch(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watched = on
}

// mend makes the table again if somebody has touched it.
func (k *borderKeeper) mend() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func(watched bool) { k.watched = watched }(k.watched)
	k.watched = false
	was := k.have
	if k.want == nil || was == nil || !was.sameRules(k.want) {
		return nil // no pass has made it yet, or the next one has to
	}
	c, err := k.connect()
	if err != nil {
		return borderError(err)
	}
	if err := k.look(c, true); err != nil {
		return borderError(err)
	}
	k.drifted = append(k.drifted, was.differs(k.have)...)
	return borderError(k.reach(c, k.have))
}

// remove takes the table out of the kernel.
func (k *borderKeeper) remove() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.want, k.have = nil, nil
	c, err := k.connect()
	if err != nil {
		return borderError(err)
	}
	return newBorderTable(newBorder(0)).remove(c)
}

// borderError says what there is no border for, and what that means.
func borderError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("set up the border, nftables table inet weft: %w; no tunnel of this host is up until that is mended: see `weft doctor` for what the kernel lacks", err)
}

func (k *borderKeeper) connect() (*nftables.Conn, error) {
	return nftables.New(append([]nftables.ConnOption{
		nftables.WithNetNSFd(int(k.ns)),
		nftables.WithSockOptions(func(c *mnetlink.Conn) error {
			k.own.add(c.PID())
			return nil
		}),
	}, k.dial...)...)
}

// look makes k.have what the kernel holds, nil if that is not as weft makes it.
// It reads only what may have changed: that is told while the table is watched,
// and each change of any rule in the namespace gives the kernel's rules another
// generation.
func (k *borderKeeper) look(c *nftables.Conn, verify bool) error {
	if k.have != nil && k.have.sameRules(k.want) {
		if !verify || k.watched {
			return nil
		}
		gen, err := generation(k.ns)
		if err != nil {
			return err
		}
		if gen == k.gen {
			return nil
		}
	}
	k.have = nil
	gen, err := generation(k.ns) // before: what changes meanwhile is read again
	if err != nil {
		return err
	}
	if k.have, err = newBorderTable(k.want).read(c, k.ns, k.want); err != nil {
		return err
	}
	k.gen = gen
	return nil
}

// reach brings the table from have, nil if it is not as weft makes it, to want.
func (k *borderKeeper) reach(c *nftables.Conn, have *border) error {
	before := k.gen
	t := newBorderTable(k.want)
	k.have = nil
	bring := t.create
	if have != nil {
		bring = func(c *nftables.Conn, want *border) (int, error) { return t.change(c, have, want) }
	}
	changes, err := bring(c, k.want)
	if err != nil {
		return err
	}
	k.have = k.want
	if changes == 0 {
		return nil
	}
	// Only if nobody else has changed anything in between is the generation now
	// that of what was just made; else the table is read the next time.
	gen, err := generation(k.ns)
	if err != nil {
		return err
	}
	if k.gen = gen; gen != before+uint32(changes) {
		k.gen = 0
	}
	return nil
}

// ownSockets are the last netlink sockets by which weft has changed rules, by
// their port ids. With each change the kernel tells who made it.
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

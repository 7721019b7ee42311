package probe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// PacketConn is the part of *net.UDPConn that is used. Safe for concurrent use.
type PacketConn interface {
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

// Config is what a Prober is made from.
type Config struct {
	Snapshot func() overlay.Snapshot
	Changes  func() (changes <-chan struct{}, stop func()) // of the snapshot
	Members  func() []Member                               // the other hosts
	Probe    func() uint64                                 // asks all hosts to probe, and gives the request's number
	Probed   func(asked uint64)                            // says that the request is answered
	Probing  func() bool                                   // whether there are requests
	Store    kvstore.Store                                 // the cluster's

	// Sync waits until the kernel has what the snapshot asks for.
	Sync func(ctx context.Context) error
	// Listen opens a socket in the probe network, see dataplane.ListenProbe.
	Listen func(ctx context.Context, at netip.AddrPort, checksums bool) (PacketConn, error)

	Log logrus.FieldLogger
}

// Prober takes part in probes, and asks for them. Safe for concurrent use.
type Prober struct {
	cfg Config

	mu       sync.Mutex
	table    *table    // of the session under way; nil: none
	err      error     // why there is none
	question *question // under way; nil: nobody asks
}

// New makes a Prober that does nothing until Run.
func New(cfg Config) *Prober { return &Prober{cfg: cfg} }

// Run takes part in every probe until ctx ends. It never fails.
func (p *Prober) Run(ctx context.Context) error {
	changes, stop := p.cfg.Changes()
	defer stop()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 100*time.Millisecond, 2*time.Second
	for ctx.Err() == nil {
		if !p.cfg.Probing() {
			select {
			case <-ctx.Done():
			case <-changes:
			}
			retry.Reset()
			continue
		}
		err := p.takePart(ctx)
		p.setTable(nil, err)
		if err == nil || ctx.Err() != nil {
			continue
		}
		p.cfg.Log.WithError(err).Debug("This host cannot take part in the probe of paths; it tries again.")
		select {
		case <-ctx.Done():
		case <-time.After(retry.NextBackOff()):
		}
	}
	return nil
}

func (p *Prober) setTable(t *table, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.table, p.err = t, err
}

// session gives the table of the session under way, or why there is none.
func (p *Prober) session() (*table, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table, p.err
}

// How long an answer may take.
const (
	look     = 100 * time.Millisecond // between two looks at what has come
	readLook = 400 * time.Millisecond // the same in the store
	answerIn = 12 * time.Second
	absentIn = 8 * time.Second // a host from which nothing has come by then takes no part
	askAgain = 2 * time.Second // once, if a live host has not answered
)

// ask does the work of Ask, once for all who ask at the same time.
func (p *Prober) ask(ctx context.Context) ([]Path, error) {
	if len(p.cfg.Members()) == 0 {
		return nil, nil
	}
	asked, began := p.cfg.Probe(), time.Now()
	defer func() { p.cfg.Probed(asked) }()
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		p.readRows(ctx)
		return nil
	})
	var paths []Path
	g.Go(func() error {
		defer cancel()
		ticker := time.NewTicker(look)
		defer ticker.Stop()
		for again := false; ; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-ticker.C:
			}
			took := time.Since(began)
			t, err := p.session()
			switch {
			case t == nil && (took >= absentIn || err != nil && took >= settled):
				return fmt.Errorf("this host cannot take part: %w", cmp.Or(err, errNotUp))
			case t == nil:
				continue
			}
			rows := t.answers(asked, time.Now())
			if !again && took >= askAgain && p.lacking(rows) {
				// A host that hears of this one for the first time by this request takes
				// it for an old one, as when both have just started.
				asked, again = p.cfg.Probe(), true
				continue
			}
			var final bool
			if paths, final = p.judgeAll(rows, took); final {
				return nil
			}
		}
	})
	err := g.Wait()
	cancel()
	return paths, err
}

// lacking says whether a live host has not answered.
func (p *Prober) lacking(rows map[string]arrival) bool {
	return slices.ContainsFunc(p.cfg.Members(), func(m Member) bool {
		_, answered := rows[m.Name]
		return m.Live && !answered
	})
}

var errNotUp = errors.New("its kernel has no probe network yet")

// judgeAll judges all paths. The judgement is not final if more may come.
func (p *Prober) judgeAll(rows map[string]arrival, took time.Duration) (paths []Path, final bool) {
	self := Member{Host: p.cfg.Snapshot().Self, Live: true}
	members := append([]Member{self}, p.cfg.Members()...)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	final = true
	for _, from := range members {
		for _, to := range members {
			if from.Name == to.Name {
				continue
			}
			path, done := judge(from, to, rows)
			paths = append(paths, path)
			_, a := rows[from.Name]
			_, b := rows[to.Name]
			absent := !a || !b
			final = final && (done || absent && took >= absentIn)
		}
	}
	return paths, final || took >= answerIn
}

// rowKey is where the host's row is in the store.
func rowKey(host string) string { return rowPrefix + host }

const rowPrefix = "probe/"

// readRows reads the rows of other hosts from the store until ctx ends.
func (p *Prober) readRows(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(readLook):
		}
		t, _ := p.session()
		if t == nil {
			continue
		}
		pairs, _, err := p.cfg.Store.List(ctx, rowPrefix)
		if err != nil {
			p.cfg.Log.WithError(err).Debug("What other hosts have heard could not be read from the store.")
			continue
		}
		for _, pair := range pairs {
			var r Row
			if err := json.Unmarshal(pair.Value, &r); err == nil && r.Host != t.host && rowKey(r.Host) == pair.Key {
				t.learn(r, time.Now())
			}
		}
	}
}

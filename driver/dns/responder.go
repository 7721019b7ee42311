package dns

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// responder answers one sandbox's queries.
type responder struct {
	cfg  Config
	path string
	log  logrus.FieldLogger
	view atomic.Pointer[View]
	news chan struct{} // view is another

	stop context.CancelFunc
	done chan struct{} // closed when the sandbox is left
	on   atomic.Bool   // it answers
}

// run serves the sandbox until ctx ends, once after is closed. It waits for the
// sandbox, and begins again when something breaks.
func (r *responder) run(ctx context.Context, after <-chan struct{}) {
	defer close(r.done)
	if after != nil {
		<-after
	}
	began, wait := time.Now(), time.Duration(0)
	for failed := false; ; {
		err := r.visit(ctx)
		if ctx.Err() != nil {
			if err != nil {
				r.log.WithError(err).Warn("Names of a sandbox could not be given back to Docker at once; that happens by itself.")
			}
			return
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // before Docker makes it, or after
			wait = patience(time.Since(began))
		case err != nil:
			if !failed {
				r.log.WithError(err).Warn("Names cannot be answered in a sandbox; Docker's resolver answers alone there, and it is tried again.")
			}
			failed, wait = true, max(wait, patience(time.Since(began)), 50*time.Millisecond)
		default:
			began, failed, wait = time.Now(), false, patience(0)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// patience is how long to wait before the next look for a sandbox that has been
// waited for so long. Docker before version 28 makes it 0.2 to 0.4 s after the
// Join; a mount gives no inotify event. One look costs about a microsecond.
func patience(since time.Duration) time.Duration {
	switch {
	case since < 5*time.Second:
		return 2 * time.Millisecond
	case since < time.Minute:
		return 50 * time.Millisecond
	}
	return time.Second
}

// visit opens the sandbox and serves it until ctx ends, the sandbox is another
// or something breaks.
func (r *responder) visit(ctx context.Context) error {
	box, err := r.cfg.Open(ctx, r.path)
	if err != nil {
		return err
	}
	v := &visit{
		responder: r, box: box,
		lines: newLines(box.Dial, r.cfg.Timeout), calls: newCalls(box.Dial, r.cfg.Timeout),
		budget:  rate.NewLimiter(rate.Limit(r.cfg.Rate), r.cfg.Rate),
		forward: make(chan struct{}, maxForwarded), streams: make(chan struct{}, maxStreams),
	}
	defer v.calls.prune(time.Now().Add(time.Hour)) // all
	defer v.lines.close()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, serving := errgroup.WithContext(serving)
	g.Go(func() error { return v.serveUDP(serving, g) })
	g.Go(func() error { return v.serveTCP(serving, g) })
	g.Go(func() error {
		err := v.keep(ctx, serving)
		r.on.Store(false)
		// First the container asks Docker again, then what was asked is
		// answered, then nobody listens.
		err = errors.Join(err, box.Release())
		v.drain(serving)
		stop()
		return errors.Join(err, box.Close())
	})
	if err := g.Wait(); !errors.Is(err, errMoved) {
		return err
	}
	return nil
}

// visit is the time from opening a sandbox to closing it.
type visit struct {
	*responder
	box     Sandbox
	lines   *lines        // to Docker's resolver by UDP
	calls   *calls        // and by TCP
	budget  *rate.Limiter // of queries that are read
	waiting atomic.Int32  // queries that Docker's resolver is to answer
	forward chan struct{} // a place is a query under way to Docker's resolver
	streams chan struct{} // a place is a TCP connection

	// Only keep's: the view whose names the stand-in has, these names, whether it
	// could not be told of them, and when it is told of news.
	standIn View
	far     [][]byte
	unstood bool
	tell    *time.Timer
	telling bool
}

// errMoved says that the path is another sandbox than before, or none.
var errMoved = errors.New("the sandbox is another")

// drain waits for queries under way, but not long: first for those that have
// not been read yet, then for those that Docker's resolver has.
func (v *visit) drain(serving context.Context) {
	for end := time.Now().Add(drainFor); time.Now().Before(end); {
		select {
		case <-serving.Done():
			return
		case <-time.After(drainFor / 20):
		}
		if v.waiting.Load() == 0 {
			return
		}
	}
}

// drainFor is how long queries under way may keep a sandbox from being left.
const drainFor = 500 * time.Millisecond

// keep keeps the interception alive until ctx ends, or serving has failed.
func (v *visit) keep(ctx, serving context.Context) error {
	ticker := time.NewTicker(v.cfg.Renew)
	defer ticker.Stop()
	v.tell = time.NewTimer(0)
	defer v.tell.Stop()
	for {
		if err := v.box.Intercept(v.cfg.Lapse); err != nil {
			return err
		}
		if !v.on.Swap(true) {
			v.log.Debug("Names are answered in a sandbox.")
		}
		if done, err := v.wait(ctx, serving, ticker.C); done || err != nil {
			return err
		}
	}
}

// wait waits for the time to renew the interception, or to end.
func (v *visit) wait(ctx, serving context.Context, renew <-chan time.Time) (done bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case <-serving.Done():
			return true, nil
		case <-v.news:
			if !v.telling {
				v.telling = true
				v.tell.Reset(tellAfter)
			}
		case <-v.tell.C:
			v.telling = false
			v.tellStandIn()
		case now := <-renew:
			v.lines.prune(now.Add(-idleFor))
			v.calls.prune(now.Add(-idleFor))
			v.tellStandIn()
			if !v.box.Current() {
				return false, errMoved
			}
			return false, nil
		}
	}
}

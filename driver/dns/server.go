package dns

import (
	"cmp"
	"context"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
)

// Sandbox is what a responder has inside one sandbox. All but Close and Release
// are called only between them and the opening.
type Sandbox interface {
	UDP() *net.UDPConn // gets the container's queries, once intercepted
	TCP() net.Listener
	// Dial connects to Docker's resolver; the network is udp4 or tcp4.
	Dial(ctx context.Context, network string) (net.Conn, error)
	// Intercept redirects the container's queries for the time of ttl from now on.
	Intercept(ttl time.Duration) error
	// Current says whether the path still is this sandbox.
	Current() bool
	// StandIn has queries for the names, as they are in queries, refused with
	// SERVFAIL when weft is gone without a word, for the time of ttl from now on.
	StandIn(names [][]byte, ttl time.Duration) error
	// Release ends the interception, if there is one.
	Release() error
	// Close gives the sockets back.
	Close() error
}

// Outcome is what became of a query.
type Outcome string

// The outcomes.
const (
	Answered  Outcome = "answered"  // from weft's names
	Forwarded Outcome = "forwarded" // and answered by Docker's resolver
	Failed    Outcome = "failed"    // forwarded in vain
	Refused   Outcome = "refused"   // malformed
	Dropped   Outcome = "dropped"   // its sandbox asks too much at once
)

// Config is what a Server is made from.
type Config struct {
	Snapshot func() overlay.Snapshot
	Changes  func() (changes <-chan struct{}, stop func()) // of the snapshot
	// Open opens a sandbox. The error is an fs.ErrNotExist while there is none.
	Open func(ctx context.Context, path string) (Sandbox, error)
	Log  logrus.FieldLogger
	// Observe hears what became of each query and how long that took; may be
	// nil. It must not block.
	Observe func(Outcome, time.Duration)
	// Unread hears of queries that the kernel dropped because their sandbox asks
	// more than Rate; may be nil. It must not block.
	Unread func(queries uint32)

	// Rate is how many queries a second one sandbox may ask, and how many at
	// once; 10,000 by default. A busy proxy asks some 1,000 names a second, each
	// for two types of address, and each perhaps with some search domains.
	Rate int
	// Lapse is after how long without weft containers ask Docker's resolver
	// again; 9 s by default. Renew is how often that is put off; 3 s.
	Lapse, Renew time.Duration
	// StandIn is for how long without weft names that only weft knows are refused
	// with SERVFAIL, and not asked from other nameservers; 2 min by default. A weft
	// that was killed is back by then, or not soon.
	StandIn time.Duration
	// Timeout is how long Docker's resolver may take; 4.8 s by default. It tries
	// its next server after 4 s, and most clients ask again after 5 s.
	Timeout time.Duration
}

// Server answers names in all sandboxes of this host.
type Server struct {
	cfg Config

	mu         sync.Mutex
	responders map[string]*responder // guarded by mu; by the sandbox's path
	zones      map[string]*source    // only Run's; by network id
}

// Status tells how many sandboxes there are, and in how many of them names are
// answered.
type Status struct{ Sandboxes, Answering int }

// New makes a Server that does nothing until Run.
func New(cfg Config) *Server {
	if cfg.Observe == nil {
		cfg.Observe = func(Outcome, time.Duration) {}
	}
	if cfg.Unread == nil {
		cfg.Unread = func(uint32) {}
	}
	cfg.Rate = cmp.Or(cfg.Rate, 10_000)
	cfg.Lapse = cmp.Or(cfg.Lapse, 9*time.Second)
	cfg.Renew = cmp.Or(cfg.Renew, 3*time.Second)
	cfg.StandIn = cmp.Or(cfg.StandIn, 2*time.Minute)
	cfg.Timeout = cmp.Or(cfg.Timeout, 4800*time.Millisecond)
	return &Server{cfg: cfg, responders: map[string]*responder{}, zones: map[string]*source{}}
}

// Status is how the server is doing.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Sandboxes: len(s.responders)}
	for _, r := range s.responders {
		if r.on.Load() {
			st.Answering++
		}
	}
	return st
}

// Run answers names until ctx ends. Then Docker's resolver has the sandboxes
// for itself again.
func (s *Server) Run(ctx context.Context) error {
	changes, stop := s.cfg.Changes()
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	leaving := map[string]<-chan struct{}{} // sandboxes being left, by path
	for {
		views := s.views(s.cfg.Snapshot())
		s.mu.Lock()
		for path, r := range s.responders {
			if views[path] == nil {
				r.stop()
				leaving[path] = r.done
				delete(s.responders, path)
			}
		}
		for path, view := range views {
			if r := s.responders[path]; r != nil {
				r.view.Store(&view)
				select {
				case r.news <- struct{}{}:
				default:
				}
				continue
			}
			r := &responder{cfg: s.cfg, path: path, log: s.cfg.Log.WithField("sandbox", path), done: make(chan struct{}), news: make(chan struct{}, 1)}
			r.view.Store(&view)
			s.responders[path] = r
			var inner context.Context
			inner, r.stop = context.WithCancel(ctx)
			after := leaving[path]
			delete(leaving, path)
			running.Go(func() { r.run(inner, after) })
		}
		s.mu.Unlock()
		for path, done := range leaving {
			select {
			case <-done:
				delete(leaving, path)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		}
	}
}

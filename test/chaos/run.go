package chaos

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/whole"
)

// round is after how long of operations everything is healed and looked at,
// before they go on.
const round = 2 * time.Minute

// ahead is how many operations may be under way at once, faults among them.
const ahead = 12

// Config says what a run does.
type Config struct {
	Lab  *lab.Lab
	Seed uint64
	Long time.Duration // how long operations are drawn
	// LiveRestore says that containers outlive their dockerd.
	LiveRestore bool
	Servers     int // of Consul
	Say         func(format string, args ...any)
}

// runner is one run.
type runner struct {
	Config
	cluster  whole.Cluster
	history  history
	troubles troubles
	cuts     cuts

	mu       sync.Mutex
	tails    map[string]chan struct{} // of each key: closed when its last operation is done
	networks map[string]*networkFate
	boxes    map[string]*boxFate
	counts   map[string]int // operations by how they went
	newest   atomic.Int64   // container of runNew
	idle     whole.Usage
	first    map[string][]string // by host: what its kernel had at the start
}

// networkFate is what became of a drawn network.
type networkFate struct {
	host     string
	created  time.Time // zero: it was not, as far as known
	tried    bool      // in vain, at least once
	removing time.Time // zero: nobody wanted to
}

// boxFate is what became of a drawn container.
type boxFate struct {
	host     string
	nets     []string // it ever was in
	explicit bool
	since    time.Time
	doubtful bool // something has gone wrong: what Docker says about it is its own business
}

// Run plays, heals and checks. It gives the failures, and the history.
func Run(ctx context.Context, c Config) (failures []string, history string) {
	r := &runner{
		Config: c, cluster: whole.Cluster{Lab: c.Lab}, tails: map[string]chan struct{}{}, networks: map[string]*networkFate{},
		boxes: map[string]*boxFate{}, counts: map[string]int{}, first: map[string][]string{},
	}
	r.history.began = time.Now()
	r.cuts.lab = c.Lab
	r.settleIdle(ctx)
	var hosts []string
	for _, h := range r.Lab.Hosts() {
		hosts = append(hosts, h.Name())
	}
	s := newScript(c, hosts)
	sound := true
	for left := r.Long; left > 0 && sound; left -= round {
		r.play(ctx, s, min(left, round))
		r.Say("%s", r.summary())
		if sound = r.heal(ctx); sound {
			r.calm(ctx)
		}
	}
	if sound {
		r.check(ctx)
		r.clear(ctx)
	}
	r.history.mu.Lock()
	failures = r.history.failures
	r.history.mu.Unlock()
	return failures, r.history.String()
}

// play draws and does operations for that long, and waits for those under way.
func (r *runner) play(ctx context.Context, s *script, long time.Duration) {
	free := make(chan struct{}, ahead)
	var all sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(watching) })
	for end := time.Now().Add(long); time.Now().Before(end) && ctx.Err() == nil; {
		o := s.next()
		time.Sleep(o.pause)
		free <- struct{}{}
		before, done := r.queue(o)
		all.Go(func() {
			defer func() { close(done); <-free }()
			for _, b := range before {
				<-b
			}
			r.do(ctx, o)
		})
	}
	all.Wait()
	stop()
	watch.Wait()
}

// queue says what the operation has to wait for, and what others wait for then.
func (r *runner) queue(o op) (before []chan struct{}, done chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done = make(chan struct{})
	for _, key := range o.keys() {
		if b := r.tails[key]; b != nil {
			before = append(before, b)
		}
		r.tails[key] = done
	}
	return before, done
}

func (r *runner) do(ctx context.Context, o op) {
	if o.last > 0 {
		r.fault(ctx, o)
		return
	}
	r.docker(ctx, o)
}

func (r *runner) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

func (r *runner) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("seed %d: %v", r.Seed, r.counts)
}

package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// ahead is how many operations may be under way at once, faults among them.
const ahead = 12

// Config says what a run does.
type Config struct {
	Lab  *lab.Lab
	Weft string // path of the weft binary, for its commands
	Seed uint64
	Long time.Duration // how long operations are drawn
	// LiveRestore says that containers outlive their dockerd.
	LiveRestore bool
	// Names has containers looked up by name too.
	Names bool
	Say   func(format string, args ...any)
}

// runner is one run.
type runner struct {
	Config
	history  history
	troubles troubles
	cuts     cuts

	mu       sync.Mutex
	tails    map[string]chan struct{} // of each key: closed when its last operation is done
	networks map[string]*networkFate
	boxes    map[string]*boxFate
	counts   map[string]int // operations by how they went
	idle     usage
	crashes  int      // of weft and dockerd
	strays   []string // claims that waited for their time when all else was whole
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
		Config: c, tails: map[string]chan struct{}{}, networks: map[string]*networkFate{},
		boxes: map[string]*boxFate{}, counts: map[string]int{},
	}
	r.history.began = time.Now()
	r.cuts.lab = c.Lab
	r.settleIdle(ctx)
	r.play(ctx)
	r.Say("%s", r.summary())
	if r.heal(ctx) {
		r.check(ctx)
		r.clear(ctx)
	}
	r.history.mu.Lock()
	failures = r.history.failures
	r.history.mu.Unlock()
	return failures, r.history.String()
}

// play draws and does operations until the time is over, and waits for those
// under way.
func (r *runner) play(ctx context.Context) {
	var hosts []string
	for _, h := range r.Lab.Hosts() {
		hosts = append(hosts, h.Name())
	}
	s := newScript(r.Seed, hosts, r.LiveRestore)
	free := make(chan struct{}, ahead)
	var all sync.WaitGroup
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(watching) })
	for end := time.Now().Add(r.Long); time.Now().Before(end) && ctx.Err() == nil; {
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

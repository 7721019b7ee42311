package chaos

import (
	"context"
	"crypto/ed25519"
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
	Servers     int    // of Consul
	Spare       string // a host of the lab for others' machines; neither its weft nor its dockerd runs
	Say         func(format string, args ...any)
}

// runner is one run.
type runner struct {
	Config
	cluster  whole.Cluster
	history  history
	troubles troubles
	cuts     cuts
	disks    disks
	keys     map[string]ed25519.PrivateKey // by which hosts sign, at the start; the spare one was a member then
	ears     *ears

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
		Config: c, cluster: whole.Cluster{Lab: c.Lab, Spare: c.Spare}, tails: map[string]chan struct{}{}, networks: map[string]*networkFate{},
		boxes: map[string]*boxFate{}, counts: map[string]int{}, first: map[string][]string{},
		keys: map[string]ed25519.PrivateKey{},
	}
	r.history.began, r.history.say = time.Now(), r.Say
	r.cuts.lab = c.Lab
	if err := r.retire(ctx); err != nil {
		return []string{err.Error()}, ""
	}
	r.settleIdle(ctx)
	if err := r.overhear(); err != nil {
		return []string{err.Error()}, ""
	}
	defer func() { _ = r.ears.close() }()
	if err := r.genuine(ctx); err != nil {
		return []string{err.Error()}, ""
	}
	standers, err := r.stand(ctx)
	if err != nil {
		return []string{err.Error()}, ""
	}
	sending, stop := context.WithCancel(ctx)
	var packets sync.WaitGroup
	packets.Go(func() { r.packets(sending, standers) })
	var hosts []string
	for _, h := range r.cluster.Hosts() {
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
	}
	stop()
	packets.Wait()
	if sound {
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

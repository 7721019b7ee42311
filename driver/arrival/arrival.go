package arrival

import (
	"context"
	"sync"
	"time"
)

// Arrivals are the endpoints of this host that are on their way. Safe for concurrent
// use; those of a nil one have all arrived.
type Arrivals struct {
	mu   sync.Mutex
	list list // guarded by mu
	wake chan struct{}
}

// New makes Arrivals that wait for nobody.
func New() *Arrivals { return &Arrivals{list: list{}, wake: make(chan struct{}, 1)} }

// Expect says that Docker begins to put the endpoint into its container.
func (a *Arrivals) Expect(network, endpoint string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.list.expect(network, endpoint, time.Now())
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Forget says that the endpoint goes. An unknown one is fine.
func (a *Arrivals) Forget(endpoint string) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list.forget(endpoint)
}

// Coming says whether the endpoint is still on its way.
func (a *Arrivals) Coming(endpoint string) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list.has(endpoint, time.Now())
}

// Await waits until the kernel has the link of an endpoint up at both ends, or until ctx
// ends.
type Await func(ctx context.Context, network, endpoint string) error

// Run waits for whoever is expected until ctx ends. arrived is called after each arrival,
// and when somebody is waited for no longer.
func (a *Arrivals) Run(ctx context.Context, await Await, arrived func()) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for {
		a.mu.Lock()
		next := a.list.begin()
		a.mu.Unlock()
		for _, c := range next {
			waiting.Go(func() {
				a.wait(ctx, c, await)
				a.mu.Lock()
				ended := a.list.end(c)
				a.mu.Unlock()
				if ended {
					arrived()
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		}
	}
}

// wait waits for one endpoint. If the kernel cannot tell, it has arrived as far as anybody
// knows.
func (a *Arrivals) wait(ctx context.Context, c *coming, await Await) {
	ctx, cancel := context.WithDeadline(ctx, c.until)
	defer cancel()
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		select {
		case <-c.gone:
			cancel()
		case <-gone:
		}
	}()
	_ = await(ctx, c.network, c.endpoint)
}

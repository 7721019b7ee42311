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
// and when somebody is waited for no longer. If the kernel cannot tell, an endpoint has
// arrived as far as anybody knows.
func (a *Arrivals) Run(ctx context.Context, await Await, arrived func()) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for {
		a.mu.Lock()
		for _, c := range a.list {
			if c.stop != nil {
				continue // somebody waits already
			}
			var within context.Context
			within, c.stop = context.WithDeadline(ctx, c.until)
			waiting.Go(func() {
				_ = await(within, c.network, c.endpoint)
				a.mu.Lock()
				ended := a.list.end(c)
				a.mu.Unlock()
				if ended {
					arrived()
				}
			})
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		}
	}
}

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/lab"
)

// gone are the hosts that weft is no more on: h3, which is nobody's end of the
// measured traffic.
const gone = "h3"

func hostFaults() []*fault {
	names := figure{"names", "until its containers' names are withdrawn", 5}
	forwarding := figure{"forwarding", "until no host sends to it any more", 21}
	return []*fault{
		{
			name: "host-dead", title: "another host without power, then back", lab: reap, waits: true, lossless: true,
			figures: []figure{names, forwarding, {"addresses", "until its addresses are free, with `--reap 30s`", 60}},
			harm: func(ctx context.Context, p *play) error {
				began := time.Now()
				if err := p.host(gone).PowerOff(ctx); err != nil {
					return err
				}
				return p.withdrawn(ctx, began, map[string]check{"names": asked(p.stage.named), "forwarding": seen(p.stage.sentTo), "addresses": seen(p.stage.claimed)})
			},
			mend: powerOn,
		},
		{
			name: "host-shutdown", title: "another host shut down in order (`weft leave --away`), then back", lab: reap, waits: true, lossless: true,
			figures: []figure{names.without(), forwarding.without()},
			harm: func(ctx context.Context, p *play) error {
				began := time.Now()
				h := p.host(gone)
				if _, err := h.Docker(ctx, "stop", p.stage.box(gone).name); err != nil {
					return err
				}
				if err := h.Stop(ctx, lab.Dockerd); err != nil {
					return err
				}
				// As weft.service has it: weft is told, and then ended.
				if err := p.stage.cluster.Control(gone).Away(ctx); err != nil {
					return err
				}
				if err := h.Stop(ctx, lab.Weft); err != nil {
					return err
				}
				if err := h.PowerOff(ctx); err != nil {
					return err
				}
				return p.withdrawn(ctx, began, map[string]check{"names": asked(p.stage.named), "forwarding": seen(p.stage.sentTo)})
			},
			mend: powerOn,
		},
		{
			name: "host-leave", title: "another host's `weft leave`, then back", lab: reap, waits: true, lossless: true,
			figures: []figure{{"left", "until its peers have dropped it", 0}},
			harm: func(ctx context.Context, p *play) error {
				h := p.host(gone)
				if _, err := h.Docker(ctx, "rm", "-f", p.stage.box(gone).name); err != nil {
					return err
				}
				began := time.Now()
				if _, err := p.stage.cluster.Control(gone).Leave(ctx, control.Leaving{}); err != nil {
					return err
				}
				return p.withdrawn(ctx, began, map[string]check{"left": seen(p.stage.listed)})
			},
			mend: func(ctx context.Context, p *play) error {
				if err := p.host(gone).Start(ctx, lab.Weft); err != nil {
					return err
				}
				return p.stage.run(ctx, gone)
			},
		},
		{
			name: "weft-stop", title: "another host's weft stopped, containers still running; started again", lab: reap, waits: true, lossless: true,
			figures: []figure{{"down", "until its peers say that it is down", 0}, names.without()},
			harm: func(ctx context.Context, p *play) error {
				began := time.Now()
				if err := p.host(gone).Stop(ctx, lab.Weft); err != nil {
					return err
				}
				err := p.withdrawn(ctx, began, map[string]check{"down": seen(p.stage.live), "names": asked(p.stage.named)})
				if err != nil {
					return err
				}
				return p.stage.reached()
			},
			mend: func(ctx context.Context, p *play) error { return p.host(gone).Start(ctx, lab.Weft) },
		},
	}
}

func powerOn(ctx context.Context, p *play) error {
	h := p.host(gone)
	if err := h.PowerOn(ctx); err != nil {
		return err
	}
	for _, s := range h.Services() {
		if err := h.Start(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// check is something that will hold, and since when it does once it returns nil.
type check func(ctx context.Context) (since time.Time, err error)

// seen is a check that holds from when it has been seen.
func seen(look func(context.Context) error) check {
	return func(ctx context.Context) (time.Time, error) {
		err := look(ctx)
		return time.Now(), err
	}
}

// asked is a check that holds from when it was asked for: an answer that there is
// nothing is waited for, as Docker's resolver, asked last, asks on.
func asked(look func(context.Context) error) check {
	return func(ctx context.Context) (time.Time, error) {
		began := time.Now()
		return began, look(ctx)
	}
}

// withdrawn measures how long after a moment each of the checks begins to hold.
func (p *play) withdrawn(ctx context.Context, began time.Time, checks map[string]check) error {
	var g errgroup.Group
	for name, holds := range checks {
		g.Go(func() error {
			var since time.Time
			err := until(ctx, 3*time.Minute, func(ctx context.Context) (err error) {
				since, err = holds(ctx)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			p.set(name, since.Sub(began).Seconds())
			return nil
		})
	}
	return g.Wait()
}

// others are the boxes on the hosts that are still there.
func (s *stage) others() []*box {
	var out []*box
	for _, b := range s.boxes {
		if b.host != gone {
			out = append(out, b)
		}
	}
	return out
}

// named says who still finds the container of the host that has gone.
func (s *stage) named(ctx context.Context) error {
	var g errgroup.Group
	for _, b := range s.others() {
		g.Go(func() error {
			if found, _ := b.lookup(ctx, s.box(gone).name); len(found) > 0 { // no answer is no address
				return fmt.Errorf("%s finds it at %v", b.name, found)
			}
			return nil
		})
	}
	return g.Wait()
}

// reached says which host does not reach the container of the one without weft.
func (s *stage) reached() error {
	for _, b := range s.others() {
		if mute, err := b.ping(s.box(gone).addr); err != nil || len(mute) > 0 {
			return fmt.Errorf("%s does not reach it: %w", b.name, err)
		}
	}
	return nil
}

// sentTo says which host still sends to the one that has gone.
func (s *stage) sentTo(context.Context) error {
	for _, b := range s.others() {
		n, err := s.cluster.Behind(b.host, s.lab.Host(gone).Addr())
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%s has %d entries for it", b.host, n)
		}
	}
	return nil
}

// claimed says that the host that has gone still has addresses.
func (s *stage) claimed(ctx context.Context) error {
	claims, err := s.cluster.Claims(ctx)
	if err != nil {
		return err
	}
	if n := claims[gone]; n > 0 {
		return fmt.Errorf("it has %d addresses", n)
	}
	return nil
}

// live says who takes the host that has gone for live.
func (s *stage) live(ctx context.Context) error {
	for _, b := range s.others() {
		hosts, err := s.cluster.Control(b.host).Hosts(ctx)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			if h.Name == gone && h.State != control.HostDown {
				return fmt.Errorf("for %s it is %s", b.host, h.State)
			}
		}
	}
	return nil
}

// listed says who still knows the host that has gone, or sends to it.
func (s *stage) listed(ctx context.Context) error {
	for _, b := range s.others() {
		hosts, err := s.cluster.Control(b.host).Hosts(ctx)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			if h.Name == gone {
				return fmt.Errorf("%s knows it", b.host)
			}
		}
	}
	return s.sentTo(ctx)
}

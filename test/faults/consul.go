package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/test/lab"
)

func consulFaults() []*fault {
	kill := func(ctx context.Context, p *play) error { return p.stage.lab.Consul(1).Kill(ctx) }
	return []*fault{
		{
			name: "consul-down", title: "Consul down for %s", lab: plain, waits: true, lossless: true, startful: true,
			figures: []figure{
				{"refusal-create", "until `docker network create` is refused meanwhile", 3},
				{"refusal-ip", "until `docker run --ip` outside of the stock is refused meanwhile", 3},
				{"unreached", "containers started meanwhile that another host did not reach with the first packet, number", 0},
				{"published", "from Consul's return until it has everything", 2},
			},
			harm: func(ctx context.Context, p *play) error {
				if err := kill(ctx, p); err != nil {
					return err
				}
				return p.withoutConsul(ctx)
			},
			mend: func(ctx context.Context, p *play) error {
				all, err := p.stage.cluster.Containers() // to look for them takes a while, which is not Consul's
				if err != nil {
					return err
				}
				if err := p.stage.lab.Consul(1).Start(ctx); err != nil {
					return err
				}
				p.mended()
				return p.measure(ctx, "published", time.Minute, func(ctx context.Context) error { return p.stage.unpublished(ctx, all) })
			},
		},
		{
			name: "consul-leader", title: "leader of three Consul servers killed (SIGKILL), back after 15 s", lab: three, lossless: true, startful: true, starts: 700 * time.Millisecond,
			harm: func(ctx context.Context, p *play) error { return p.killServers(ctx, 1, true, 15*time.Second) }, mend: startServers,
		},
		{
			name: "consul-follower", title: "one of three Consul servers killed, not the leader, back after 15 s", lab: three, lossless: true, startful: true, starts: 700 * time.Millisecond,
			harm: func(ctx context.Context, p *play) error { return p.killServers(ctx, 1, false, 15*time.Second) }, mend: startServers,
		},
		{
			name: "consul-quorum", title: "two of three Consul servers killed, back after 1 min", lab: three, waits: true, lossless: true, startful: true, starts: 4 * time.Second,
			harm: func(ctx context.Context, p *play) error { return p.killServers(ctx, 2, true, time.Minute) }, mend: startServers,
		},
		{
			name: "consul-restored", title: "Consul restored from a snapshot that knows no network", lab: plain, lossless: true,
			harm: nothing, mend: restore,
		},
		{
			name: "consul-wiped", title: "Consul's data lost, and Consul back empty", lab: plain, lossless: true,
			harm: func(ctx context.Context, p *play) error { return p.stage.lab.Consul(1).Wipe(ctx) },
			mend: startServers,
		},
		{
			name: "consul-backup", title: "after that, Consul restored from a snapshot that is older than the loss", lab: plain, lossless: true,
			harm: nothing, mend: restore,
		},
	}
}

// restore gives Consul the last snapshot back that was made of it.
func restore(ctx context.Context, p *play) error {
	if _, err := p.stage.lab.Consul(1).Request(ctx, http.MethodPut, "/v1/snapshot", p.stage.snapshot); err != nil {
		return fmt.Errorf("restore a snapshot of Consul: %w", err)
	}
	p.mended()
	return nil
}

// startServers starts the Consul servers that do not run, and counts from when
// they know a leader.
func startServers(ctx context.Context, p *play) error {
	var g errgroup.Group
	for _, c := range p.stage.lab.Consuls() {
		g.Go(func() error { return c.Start(ctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.mended()
	return nil
}

// killServers kills some of three servers, the leader among them or not, for a
// time.
func (p *play) killServers(ctx context.Context, n int, leader bool, d time.Duration) error {
	text, err := p.stage.lab.Consul(1).Leader(ctx)
	if err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return fmt.Errorf("the leader %q is no address: %w", text, err)
	}
	for _, first := range []bool{leader, !leader} {
		for _, c := range p.stage.lab.Consuls() {
			if n > 0 && (c.Addr() == at.Addr()) == first {
				n--
				if err := c.Kill(ctx); err != nil {
					return err
				}
			}
		}
	}
	return last(ctx, d)
}

// ahead is how many containers start on each host in each network without
// Consul.
const ahead = 8

// withoutConsul does what must go and what cannot go without Consul.
func (p *play) withoutConsul(ctx context.Context) error {
	over := time.Now().Add(p.stage.outage)
	if err := last(ctx, min(10*time.Second, p.stage.outage/4)); err != nil {
		return err
	}
	unreached := 0
	for range ahead {
		for _, h := range p.stage.lab.Hosts() {
			for _, n := range networks {
				n, err := p.startOne(ctx, h, n)
				if err != nil {
					return err
				}
				unreached += n
			}
		}
	}
	p.set("unreached", float64(unreached))
	for _, at := range []time.Time{time.Now(), over} {
		if err := last(ctx, time.Until(at)); err != nil {
			return err
		}
		for i, args := range [][]string{
			{"network", "create", "-d", "weft", "--ipam-driver", "weft", "refused"},
			{"run", "--rm", "--network", networks[0], "--ip", p.stage.farAddress.String(), "busybox", "true"},
		} {
			began := time.Now()
			_, err := p.stage.lab.Host("h2").Docker(ctx, args...)
			if err == nil {
				return fmt.Errorf("docker %v is not refused without Consul", args)
			}
			p.set([]string{"refusal-create", "refusal-ip"}[i], time.Since(began).Seconds())
		}
	}
	return nil
}

// startOne starts a container, which is a sample of starts, and counts the other
// hosts that do not reach it with their first packet.
func (p *play) startOne(ctx context.Context, h *lab.Host, network string) (unreached int, err error) {
	name := fmt.Sprintf("%s-%d", h.Name(), p.number())
	if !p.start(ctx, h, "-d", "--name", name, "--network", network, "busybox", "sleep", "100000") {
		return 0, nil
	}
	p.later(func(ctx context.Context) error {
		_, err := h.Docker(ctx, "rm", "-f", name)
		return err
	})
	address, err := addressOf(ctx, h, name, network)
	if err != nil {
		return 0, err
	}
	for _, b := range p.stage.boxes {
		if b.host == h.Name() {
			continue
		}
		silent, err := b.ping(address)
		if err != nil {
			return 0, err
		}
		unreached += len(silent)
	}
	return unreached, nil
}

// takeSnapshot makes a snapshot of Consul.
func (s *stage) takeSnapshot(ctx context.Context) (err error) {
	if s.snapshot, err = s.lab.Consul(1).Request(ctx, http.MethodGet, "/v1/snapshot", nil); err != nil {
		return fmt.Errorf("take a snapshot of Consul: %w", err)
	}
	return nil
}

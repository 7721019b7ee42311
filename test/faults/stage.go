package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/pulse"
	"github.com/weft-net/weft/test/whole"
)

// networks are those of every stage. The measured traffic is in the first.
var networks = []string{"demo", "side"}

// stage is a lab with two networks and, on each of its three hosts, a container
// that is in both.
type stage struct {
	lab      *lab.Lab
	cluster  whole.Cluster
	weft     string // the lab's own copy of the program
	next     string // what an upgrade puts in its place
	outage   time.Duration
	boxes    []*box // of h1, h2 and h3
	ids      map[string]string
	snapshot []byte // of Consul, the last that was made; the first is from before there was any network
	idle     whole.Usage
	// farAddress is of the first network, and in no host's stock.
	farAddress netip.Addr
}

// box is a container.
type box struct {
	host, name string
	netns      string
	addr       netip.Addr // in the first network
}

func (b *box) end() pulse.End { return pulse.End{Netns: b.netns, Addr: b.addr, Name: b.name} }

func (b *box) ping(to netip.Addr) ([]netip.Addr, error) {
	return pulse.Ping(b.netns, []netip.Addr{to}, time.Second)
}

func (b *box) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	return pulse.Lookup(ctx, b.netns, name, time.Second)
}

// newStage makes one. The lab's name is unique on the machine.
func newStage(ctx context.Context, o options, k kind, name string) (s *stage, err error) {
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for a copy of weft: %w", err)
	}
	s = &stage{weft: filepath.Join(dir, "weft"), next: o.next, outage: o.outage, ids: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.down(context.WithoutCancel(ctx)))
		}
	}()
	if err := copyFile(s.weft, o.weft); err != nil {
		return s, err
	}
	c := lab.Config{Name: name, Weft: s.weft, DockerdArgs: []string{"--live-restore"}}
	switch k {
	case three:
		c.Consuls = 3
	case reap:
		c.WeftArgs = []string{"--reap=30s"}
	case plain:
	}
	if s.lab, err = lab.Up(ctx, c); err != nil {
		return s, err
	}
	s.cluster = whole.Cluster{Lab: s.lab}
	if err := last(ctx, 2*time.Second); err != nil { // weft has settled
		return s, err
	}
	for _, h := range s.lab.Hosts() {
		u, err := s.cluster.Usage(ctx, h.Name())
		if err != nil {
			return s, err
		}
		s.idle = whole.Usage{Goroutines: max(s.idle.Goroutines, u.Goroutines), Files: max(s.idle.Files, u.Files)}
	}
	if err := s.takeSnapshot(ctx); err != nil {
		return s, err
	}
	return s, s.furnish(ctx)
}

// furnish makes the networks and the containers.
func (s *stage) furnish(ctx context.Context) error {
	for _, n := range networks {
		if _, err := s.lab.Host("h1").Docker(ctx, "network", "create", "-d", "weft", "--ipam-driver", "weft", n); err != nil {
			return err
		}
	}
	if err := until(ctx, 10*time.Second, func(ctx context.Context) error {
		for _, h := range s.lab.Hosts() {
			have, err := s.cluster.DockerNetworks(ctx, h.Name())
			if err != nil {
				return err
			}
			if len(have) != len(networks) {
				return fmt.Errorf("%s has %d networks", h.Name(), len(have))
			}
		}
		return nil
	}); err != nil {
		return err
	}
	list, err := s.cluster.Networks(ctx, "h1")
	if err != nil {
		return err
	}
	for _, n := range list {
		s.ids[n.Name] = n.ID
		if a := n.Subnets[0].Masked().Addr().As4(); n.Name == networks[0] {
			a[3] = 250
			s.farAddress = netip.AddrFrom4(a)
		}
	}
	for _, h := range s.lab.Hosts() {
		s.boxes = append(s.boxes, &box{host: h.Name(), name: "box-" + h.Name()})
		if err := s.run(ctx, h.Name()); err != nil {
			return err
		}
	}
	return nil
}

// run starts the host's box.
func (s *stage) run(ctx context.Context, host string) error {
	h, b := s.lab.Host(host), s.box(host)
	// It ends at once when it is asked to.
	if _, err := h.Docker(ctx, "run", "-d", "--restart", "always", "--name", b.name, "--network", networks[0], "busybox", "sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"); err != nil {
		return err
	}
	for _, n := range networks[1:] {
		if _, err := h.Docker(ctx, "network", "connect", n, b.name); err != nil {
			return err
		}
	}
	return s.find(ctx, host)
}

// find learns where the host's box is and what address it has.
func (s *stage) find(ctx context.Context, host string) (err error) {
	h, b := s.lab.Host(host), s.box(host)
	if b.netns, err = h.ContainerNetns(ctx, b.name); err != nil {
		return err
	}
	b.addr, err = addressOf(ctx, h, b.name, networks[0])
	return err
}

func (s *stage) box(host string) *box {
	i := slices.IndexFunc(s.boxes, func(b *box) bool { return b.host == host })
	return s.boxes[i]
}

func addressOf(ctx context.Context, h *lab.Host, container, network string) (netip.Addr, error) {
	out, err := h.Docker(ctx, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), container)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(out)
}

// upgrade replaces the program, as a package does: with a new file.
func (s *stage) upgrade() error {
	if err := copyFile(s.weft+".new", s.next); err != nil {
		return err
	}
	return os.Rename(s.weft+".new", s.weft)
}

// down takes the lab away, and all that belongs to it.
func (s *stage) down(ctx context.Context) error {
	var err error
	if s.lab != nil {
		err = s.lab.Down(ctx)
	}
	return errors.Join(err, os.RemoveAll(filepath.Dir(s.weft)))
}

// broken says what is not whole.
func (s *stage) broken(ctx context.Context) error {
	all, err := s.cluster.Containers()
	if err != nil {
		return err
	}
	if len(all) < len(s.boxes) {
		return fmt.Errorf("%d containers run", len(all))
	}
	reasons := slices.DeleteFunc(s.cluster.Broken(ctx), whole.Stranded)
	if len(reasons) == 0 {
		more, err := s.cluster.KernelDiffers(ctx)
		if err != nil {
			return err
		}
		reasons = append(reasons, more...)
	}
	if len(reasons) == 0 {
		more, err := s.cluster.Unreached(ctx)
		if err != nil {
			return err
		}
		reasons = append(reasons, more...)
	}
	if len(reasons) > 0 {
		return fmt.Errorf("%q", reasons[:min(len(reasons), 4)])
	}
	return nil
}

// unpublished says whether the store lacks an address of one of these containers.
func (s *stage) unpublished(ctx context.Context, all []whole.Container) error {
	stored, err := s.cluster.Stored(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		for _, a := range c.Addrs {
			if stored[a] != c.Host {
				return fmt.Errorf("the store does not have %s of %s", a, c.Host)
			}
		}
	}
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// until asks until the answer is nil. The error is the last one.
func until(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	why := errors.New("there was no time")
	for {
		err := ask(limited)
		if err == nil {
			return nil
		}
		if limited.Err() == nil {
			why = err // and not that the time is over
		}
		if last(limited, 20*time.Millisecond) != nil {
			return fmt.Errorf("not within %s: %w", limit.Round(time.Second), why)
		}
	}
}

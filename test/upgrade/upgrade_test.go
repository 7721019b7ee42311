package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/pulse"
	"github.com/weft-net/weft/test/whole"
)

// box is a container that is there from the beginning to the end.
type box struct {
	host  *lab.Host
	netns string
	four  netip.Addr // in the network shop
	six   netip.Addr // in the network six
}

func (b *box) name() string { return "box-" + b.host.Name() }

func (b *box) end() pulse.End { return pulse.End{Netns: b.netns, Addr: b.four, Name: b.name()} }

// What the old weft wrote is taken over in place: no packet is lost, no address
// changes, and in every mixture of old and new each host finds, makes, uses and
// removes what the others have.
func TestHostByHost(t *testing.T) {
	hosts := cluster.Hosts()
	standing := []string{"shop", "six"} // the others are removed by another weft than made them
	for _, err := range []error{
		makeNetwork(t.Context(), hosts[0], "shop"),
		makeNetwork(t.Context(), hosts[1], "six", "--ipv6", "--subnet", "10.66.0.0/24", "--subnet", "fd66::/64"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	each(t, func(ctx context.Context, _ int, h, _ *lab.Host) error { return makeNetwork(ctx, h, "old-"+h.Name()) })
	networks(t, append([]string{"old-h1", "old-h2", "old-h3"}, standing...)...)
	boxes := make([]*box, len(hosts))
	each(t, func(ctx context.Context, i int, h, _ *lab.Host) (err error) {
		boxes[i], err = newBox(ctx, h)
		return err
	})
	lost := traffic(t, boxes)
	look := func(state string) {
		t.Helper()
		well(t)
		group(t, boxes)
		same(t, boxes)
		if t.Failed() {
			t.Fatalf("%s: see above", state)
		}
	}
	look("all hosts have the old weft")
	for i, left := range [][]string{{"old-h1", "old-h3"}, {"old-h1"}, {}} {
		replace(t, hosts[i])
		if err := removeNetwork(t.Context(), hosts[i], "old-"+hosts[(i+1)%3].Name()); err != nil {
			t.Fatal(err)
		}
		if left = append(left, standing...); i < 2 {
			newcomers(t, left)
		}
		look(fmt.Sprint("the new weft is on hosts up to ", hosts[i].Name()))
	}
	signed(t, hosts)
	doctor(t, hosts)
	// Nothing that it would misread was written, so the old weft takes it back.
	goBack(t, hosts[0])
	look("h1 has the old weft again")
	replace(t, hosts[0])
	look("h1 has the new weft for good")
	signed(t, hosts)
	lost()
	remove(t)
}

// newBox starts the host's box. Its alias and its port are those of all.
func newBox(ctx context.Context, h *lab.Host) (*box, error) {
	b := &box{host: h}
	for _, args := range [][]string{
		{
			"run", "-d", "--name", b.name(), "--hostname", b.name(), "--network", "shop", "--network-alias", "web", "-p", "8080:80", "busybox",
			"sh", "-c", "mkdir /www && hostname >/www/index.html && exec httpd -f -h /www",
		},
		{"network", "connect", "six", b.name()},
	} {
		if _, err := h.Docker(ctx, args...); err != nil {
			return nil, err
		}
	}
	var err error
	if b.netns, err = h.ContainerNetns(ctx, b.name()); err != nil {
		return nil, err
	}
	b.four, b.six, err = b.addresses(ctx)
	return b, err
}

func (b *box) addresses(ctx context.Context) (four, six netip.Addr, err error) {
	out, err := b.host.Docker(ctx, "inspect", "-f", "{{.NetworkSettings.Networks.shop.IPAddress}} {{.NetworkSettings.Networks.six.GlobalIPv6Address}}", b.name())
	if err != nil {
		return four, six, err
	}
	one, other, _ := strings.Cut(out, " ")
	if four, err = netip.ParseAddr(one); err == nil {
		six, err = netip.ParseAddr(other)
	}
	return four, six, err
}

// traffic goes between all boxes until the returned function is called, which
// fails the test if a packet was lost or a connection broke.
func traffic(t *testing.T, boxes []*box) (end func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	stopped := sync.OnceFunc(func() { stop(); running.Wait() })
	t.Cleanup(stopped)
	pulses, sixes := map[string]*pulse.Pulse{}, map[string]*pulse.Pings{}
	for i, a := range boxes {
		b := boxes[(i+1)%len(boxes)]
		between := a.host.Name() + "-" + b.host.Name()
		p, err := pulse.New(ctx, a.end(), b.end())
		if err != nil {
			t.Fatal(err)
		}
		pulses[between] = p
		running.Go(func() { p.Run(ctx) })
		six, err := pulse.NewPings(a.netns, b.six, 20*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		sixes[between] = six
		running.Go(func() { six.Run(ctx) })
	}
	return func() {
		t.Helper()
		stopped()
		for between, p := range pulses {
			r := p.Result()
			t.Logf("%s: %+v", between, r)
			if r.Lost > 0 || r.Broken != "" {
				t.Errorf("%s: %d of %d packets lost, the connection broke: %q", between, r.Lost, r.Sent, r.Broken)
			}
		}
		for between, p := range sixes {
			if p.Lost() > 0 {
				t.Errorf("%s: %d of %d IPv6 packets lost", between, p.Lost(), p.Sent())
			}
		}
	}
}

// group checks that the boxes' alias and their published ports lead to them.
func group(t *testing.T, boxes []*box) {
	t.Helper()
	var want []string
	for _, b := range boxes {
		want = append(want, b.four.String())
	}
	slices.Sort(want)
	for i, b := range boxes {
		found, err := pulse.Lookup(t.Context(), b.netns, "web", 2*time.Second)
		var have []string
		for _, a := range found {
			have = append(have, a.String())
		}
		if slices.Sort(have); err != nil || !slices.Equal(have, want) {
			t.Errorf("%s finds web at %v, want %v (%v)", b.name(), have, want, err)
		}
		other := boxes[(i+1)%len(boxes)]
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s:8080/", other.host.Addr()), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := b.host.Do(request); err != nil || strings.TrimSpace(string(out)) != other.name() {
			t.Errorf("port 8080 of %s answers %q on %s (%v)", other.host.Name(), out, b.host.Name(), err)
		}
	}
}

// same checks that no box has got another address, and that no two containers
// have one.
func same(t *testing.T, boxes []*box) {
	t.Helper()
	for _, b := range boxes {
		if four, six, err := b.addresses(t.Context()); err != nil || four != b.four || six != b.six {
			t.Errorf("%s had %v and %v, and has %v and %v (%v)", b.name(), b.four, b.six, four, six, err)
		}
	}
	for _, twice := range whole.Duplicates(whole.Cluster{Lab: cluster}.Sandboxes()) {
		t.Error(twice)
	}
}

// newcomers makes on each host a network, and a container in it, in the next host's
// and in those of before, all of which reach each other; then another host removes it.
func newcomers(t *testing.T, standing []string) {
	t.Helper()
	each(t, func(ctx context.Context, _ int, h, _ *lab.Host) error { return makeNetwork(ctx, h, "net-"+h.Name()) })
	networks(t, append([]string{"net-h1", "net-h2", "net-h3"}, standing...)...)
	each(t, func(ctx context.Context, _ int, h, next *lab.Host) error {
		name := "new-" + h.Name()
		if _, err := h.Docker(ctx, "run", "-d", "--name", name, "--network", "net-"+h.Name(), "busybox", "sleep", "100000"); err != nil {
			return err
		}
		for _, n := range []string{"net-" + next.Name(), "shop", "six"} {
			if _, err := h.Docker(ctx, "network", "connect", n, name); err != nil {
				return err
			}
		}
		return nil
	})
	well(t)
	each(t, func(ctx context.Context, _ int, h, _ *lab.Host) error {
		_, err := h.Docker(ctx, "rm", "-f", "new-"+h.Name())
		return err
	})
	each(t, func(ctx context.Context, _ int, h, next *lab.Host) error {
		return removeNetwork(ctx, next, "net-"+h.Name())
	})
	networks(t, standing...)
}

// signed checks that each host's record has its public key, without which others
// take its messages unsigned.
func signed(t *testing.T, hosts []*lab.Host) {
	t.Helper()
	records, err := whole.Cluster{Lab: cluster}.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		var record overlay.Host
		if err := json.Unmarshal(records["host/"+h.Name()+"/doc"], &record); err != nil || record.Key == "" {
			t.Errorf("the record of %s has no key: %s (%v)", h.Name(), records["host/"+h.Name()+"/doc"], err)
		}
	}
}

// doctor checks that weft doctor finds nothing.
func doctor(t *testing.T, hosts []*lab.Host) {
	t.Helper()
	for _, h := range hosts {
		if out, err := h.Run(t.Context(), "weft", "doctor"); err != nil {
			t.Errorf("%s$ weft doctor: %v\n%s", h.Name(), err, out)
		}
	}
}

// remove checks that nothing is left when all is removed.
func remove(t *testing.T) {
	t.Helper()
	each(t, func(ctx context.Context, _ int, h, _ *lab.Host) error { return h.RemoveContainers(ctx) })
	hosts := cluster.Hosts()
	for n, h := range map[string]*lab.Host{"shop": hosts[2], "six": hosts[0]} {
		if err := removeNetwork(t.Context(), h, n); err != nil {
			t.Error(err)
		}
	}
	networks(t)
	well(t)
}

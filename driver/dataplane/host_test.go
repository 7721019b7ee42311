package dataplane_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/dataplane"
)

func TestUnderlay(t *testing.T) {
	h := newHosts(t, 1)[0]
	must(t, h.ns, "ip", "link", "add", "bare", "type", "bridge")
	must(t, h.ns, "ip", "link", "set", "eth0", "mtu", "1400")
	ctx := context.Background()
	four := dataplane.Underlay{Link: "eth0", Addr: ip("192.0.2.1"), MTU: 1400}
	six := dataplane.Underlay{Link: "eth0", Addr: ip("2001:db8::1"), MTU: 1400}
	if _, err := h.dp.Underlay(ctx, "", netip.Addr{}, nil); err == nil || !strings.Contains(err.Error(), "no default route") {
		t.Errorf("without a default route: %v", err)
	}
	must(t, h.ns, "ip", "route", "add", "default", "via", "192.0.2.254")
	tests := []struct {
		spec string
		via  netip.Addr
		want dataplane.Underlay
		err  string
	}{
		{"", netip.Addr{}, four, ""},
		{"", ip("192.0.2.77"), four, ""},
		{"", ip("2001:db8::77"), six, ""},
		{"", ip("192.0.2.1"), four, ""},
		{"eth0", netip.Addr{}, four, ""},
		{"192.0.2.1", netip.Addr{}, four, ""},
		{"2001:db8::1", netip.Addr{}, six, ""},
		{"", ip("2001:db8:1::1"), dataplane.Underlay{}, "no route to 2001:db8:1::1"},
		{"192.0.2.99", netip.Addr{}, dataplane.Underlay{}, "underlay address 192.0.2.99 is on no interface of this host"},
		{"eth7", netip.Addr{}, dataplane.Underlay{}, `underlay "eth7" is neither an address nor an interface of this host`},
		{"bare", netip.Addr{}, dataplane.Underlay{}, "underlay interface bare has no global address"},
	}
	for _, test := range tests {
		got, err := h.dp.Underlay(ctx, test.spec, test.via, nil)
		if d := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
			t.Errorf("%q via %s (-want +got):\n%s", test.spec, test.via, d)
		}
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q via %s: error %v, want %q", test.spec, test.via, err, test.err)
		}
	}
}

// The fast path goes by where packets to other hosts leave, and by IPsec.
func TestUnderlayTellsWhatTheFastPathGoesBy(t *testing.T) {
	h := newHosts(t, 1)[0]
	must(t, h.ns, "ip", "link", "add", "other0", "type", "bridge")
	must(t, h.ns, "ip", "link", "set", "other0", "up")
	look := func() dataplane.Underlay {
		t.Helper()
		u, err := h.dp.Underlay(context.Background(), "eth0", netip.Addr{}, []netip.Addr{ip("192.0.2.7"), ip("192.0.2.8")})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	was := look()
	if again := look(); again != was {
		t.Errorf("%+v, and then %+v", was, again)
	}
	must(t, h.ns, "ip", "route", "add", "192.0.2.8", "dev", "other0")
	moved := look()
	if moved.Ways == was.Ways || moved.IPsec {
		t.Errorf("of a route by another link: %+v, after %+v", moved, was)
	}
	must(t, h.ns, "ip", "xfrm", "policy", "add", "dst", "198.51.100.7", "dir", "out", "tmpl", "proto", "esp", "mode", "transport")
	if u := look(); !u.IPsec || u.Ways != moved.Ways {
		t.Errorf("with an IPsec policy: %+v", u)
	}
}

func TestRoutes(t *testing.T) {
	h := newHosts(t, 1)[0]
	must(t, h.ns, "ip", "route", "add", "default", "via", "192.0.2.254")
	must(t, h.ns, "ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.254")
	must(t, h.ns, "ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.254", "table", "52")
	got, err := h.dp.Routes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, p := range got {
		text = append(text, p.String())
	}
	want := []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/64"}
	if d := cmp.Diff(want, text); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestWatchTellsOfTheHostsChangesAndEnds(t *testing.T) {
	h := newHosts(t, 1)[0]
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- h.dp.Watch(ctx, func() {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	quiet := func() {
		for {
			select {
			case <-told:
			case <-time.After(300 * time.Millisecond):
				return
			}
		}
	}
	time.Sleep(3 * time.Second) // duplicate address detection of eth0 ends
	quiet()
	for _, change := range [][]string{
		{"ip", "link", "set", "eth0", "mtu", "1400"},
		{"ip", "address", "add", "192.0.2.101/24", "dev", "eth0"},
		{"ip", "-6", "address", "add", "2001:db8::101/64", "dev", "eth0", "nodad"},
		{"ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.254"},
		{"ip", "link", "add", "new0", "type", "bridge"},
		{"ip", "link", "del", "new0"},
		{"ip", "xfrm", "policy", "add", "dst", "198.51.100.7", "dir", "out", "tmpl", "proto", "esp", "mode", "transport"},
	} {
		must(t, h.ns, change...)
		select {
		case <-told:
		case <-time.After(soon):
			t.Errorf("not told of %q", change)
		}
		quiet()
	}
	h.cfg = states()["one endpoint"]
	h.set()
	h.cfg.Networks = slices.Clone(h.cfg.Networks)[:0]
	h.set()
	select {
	case <-told:
		t.Error("told of weft's own links")
	case <-time.After(never):
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// What Docker does to docker_gwbridge at each start of a container is one burst;
// what comes after a look is looked at too.
func TestWatchTellsOnceOfABurst(t *testing.T) {
	h := newHosts(t, 1)[0]
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var told atomic.Int32
	var seen atomic.Bool // the last call came after the last change
	go func() {
		ended <- h.dp.Watch(ctx, func() {
			h.ns.Netlink(func(nl *netlink.Handle) error {
				_, err := nl.LinkByName("last")
				seen.Store(err == nil)
				return nil
			})
			told.Add(1)
		})
	}()
	quiet := func() { // duplicate address detection of eth0 ends
		for n := int32(-1); n != told.Load(); time.Sleep(2 * time.Second) {
			n = told.Load()
		}
	}
	quiet()
	told.Store(0)
	began := time.Now()
	for range 10 {
		must(t, h.ns, "ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth2")
		for range 5 {
			must(t, h.ns, "ip", "link", "set", "veth1", "up")
			must(t, h.ns, "ip", "link", "set", "veth1", "down")
		}
		must(t, h.ns, "ip", "link", "del", "veth1")
	}
	must(t, h.ns, "ip", "link", "add", "last", "type", "bridge")
	for deadline := time.Now().Add(soon); !seen.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not told of the last change")
		}
	}
	took := time.Since(began)
	if n := told.Load(); int(n) > int(took/(200*time.Millisecond))+2 {
		t.Errorf("told %d times in %v", n, took)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/record"
)

func TestAddressesOfTheNetworkItself(t *testing.T) {
	for _, test := range []struct{ subnet, gateway, aux string }{
		{"10.1.0.0/24", "10.1.0.1", "10.1.0.7"},
		{"fd00:1::/64", "fd00:1::1", "fd00:1::7"},
		{"10.2.0.0/31", "10.2.0.0", ""},
		{"10.3.0.0/32", "10.3.0.0", ""},
		{"fd00:2::/127", "fd00:2::", ""},
	} {
		t.Run(test.subnet, func(t *testing.T) {
			ctx := context.Background()
			cluster := newMemory()
			h := newHost(t, "h1", cluster)
			id := h.mustPool(test.subnet, "")
			for range 2 {
				p, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Gateway: true})
				if err != nil || p.Addr().String() != test.gateway || p.Bits() != id.Subnet.Bits() {
					t.Fatalf("gateway is %v, %v, want %s", p, err, test.gateway)
				}
				if test.aux == "" {
					continue
				}
				aux := netip.MustParseAddr(test.aux)
				if _, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Addr: aux}); err != nil {
					t.Fatal(err)
				}
			}
			h.networks.add("n", true, overlay.Subnet{Prefix: id.Subnet, Gateway: netip.MustParseAddr(test.gateway)})
			if got := cluster.keys(record.AddrPrefix); got != nil {
				t.Errorf("claimed %v for the network itself", got)
			}
			wantError(t, h.named(id, test.gateway), fmt.Sprintf("address %s is the gateway of network %q (%s): choose another", test.gateway, "n", test.subnet))
			if test.aux != "" {
				wantError(t, h.named(id, test.aux), fmt.Sprintf("address %s is an aux address of network", test.aux))
			}
			h.work()
			for _, c := range h.Claims(id.Subnet) {
				if s := c.Addr.String(); s == test.gateway || s == test.aux {
					t.Errorf("%s is in stock", s)
				}
			}
		})
	}
}

func TestGatewayIsChosenWhileMaking(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, "h1", newMemory())
	id := h.mustPool("10.1.0.0/24", "")
	for gateway, want := range map[string]string{
		"10.1.0.0":   "gateway 10.1.0.0 cannot be a host's address in subnet 10.1.0.0/24: choose another",
		"10.1.0.255": "gateway 10.1.0.255 cannot be a host's address in subnet 10.1.0.0/24: choose another",
		"10.2.0.1":   "address 10.2.0.1 is not inside subnet 10.1.0.0/24: choose another",
	} {
		_, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Addr: netip.MustParseAddr(gateway), Gateway: true})
		wantError(t, err, want)
	}
	p, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Addr: netip.MustParseAddr("10.1.0.254"), Gateway: true})
	if err != nil || p.String() != "10.1.0.254/24" {
		t.Errorf("gateway is %v, %v", p, err)
	}
}

func TestNamedAddresses(t *testing.T) {
	cluster := newMemory()
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	id := h1.network("n", "10.1.0.0/24", "10.1.0.128/25")
	h2.mirror("n", overlay.Subnet{Prefix: id.Subnet, Range: id.Range, Gateway: netip.MustParseAddr("10.1.0.1")})

	for addr, want := range map[string]string{
		"10.1.0.0":   `address 10.1.0.0 is the network address of network "n" (10.1.0.0/24): choose another`,
		"10.1.0.255": `address 10.1.0.255 is the broadcast address of network "n" (10.1.0.0/24): choose another`,
		"10.1.1.5":   `address 10.1.1.5 is not inside subnet 10.1.0.0/24: choose another`,
	} {
		wantError(t, h1.named(id, addr), want)
	}
	if err := h1.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
	wantError(t, h1.named(id, "10.1.0.5"), "address 10.1.0.5 is in use on this host: choose another, or free it there")
	wantError(t, h2.named(id, "10.1.0.5"), "address 10.1.0.5 is in use or kept in stock on host h1")
	h2.networks.owners[netip.MustParseAddr("10.1.0.5")] = `container "web" on host h1`
	wantError(t, h2.named(id, "10.1.0.5"), `address 10.1.0.5 is in use by container "web" on host h1: choose another, or free it there`)

	// It moves: h1's container stops, h2's starts, and so on.
	for range 3 {
		h1.release(id, netip.MustParseAddr("10.1.0.5"))
		h1.work()
		if err := h2.named(id, "10.1.0.5"); err != nil {
			t.Fatal(err)
		}
		h1, h2 = h2, h1
	}
	// It restarts in place before it was given back.
	h1.release(id, netip.MustParseAddr("10.1.0.5"))
	if err := h1.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
}

func TestRangeIsForAddressesThatNobodyNames(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/16", "10.1.8.0/29")
	var got []string
	for {
		a, err := h.any(id)
		if err != nil {
			wantError(t, err, `network "n" (10.1.0.0/16) has no free address in its --ip-range 10.1.8.0/29: of 8, 8 are in use on this host`)
			break
		}
		got = append(got, a.String())
	}
	slices.Sort(got)
	want := []string{"10.1.8.0", "10.1.8.1", "10.1.8.2", "10.1.8.3", "10.1.8.4", "10.1.8.5", "10.1.8.6", "10.1.8.7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if err := h.named(id, "10.1.9.9"); err != nil {
		t.Errorf("an address outside the range, by name: %v", err)
	}
}

// Docker repeats a release whose answer it has lost. With an empty stock the
// address is another container's by then.
func TestARepeatedReleaseFreesNoAddressInUse(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	h.config.Stock = 0
	h.open()
	id := h.network("a", "10.1.0.0/24", "")
	first := h.mustAny(id)
	h.release(id, first)
	second := h.mustAny(id)
	if second != first {
		t.Fatalf("with an empty stock %v follows on %v: the test means the same one", second, first)
	}
	h.networks.endpoint(second)
	h.release(id, first) // again
	if third := h.mustAny(id); third == second {
		t.Errorf("%v was given out while a container has it", third)
	}
	h.networks.removeEndpoint(second)
	h.release(id, second)
	if again := h.mustAny(id); again != second {
		t.Errorf("the release of an address that no endpoint has any more left it in use: %v came next", again)
	}
}

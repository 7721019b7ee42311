package ipam

import (
	"context"
	"testing"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/google/go-cmp/cmp"
)

// The requests of `docker network create` and `docker run`, as dockerd sends
// them.
func TestDockerCreatesANetworkAndRuns(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, "h1", newMemory())
	d := NewDriver(h.Allocator, h.config.Log)

	spaces, err := d.GetDefaultAddressSpaces(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&ipam.AddressSpacesResponse{LocalDefaultAddressSpace: "weft", GlobalDefaultAddressSpace: "weft-global"}, spaces); diff != "" {
		t.Errorf("address spaces (-want +got):\n%s", diff)
	}
	if caps, err := d.GetCapabilities(ctx); err != nil || caps.RequiresMACAddress {
		t.Errorf("capabilities are %v, %v", caps, err)
	}
	pool, err := d.RequestPool(ctx, &ipam.RequestPoolRequest{
		AddressSpace: "weft", Pool: "10.50.0.0/16", SubPool: "10.50.8.0/24", Options: map[string]string{"io": "iv"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &ipam.RequestPoolResponse{PoolID: "10.50.0.0/16,10.50.8.0/24", Pool: "10.50.0.0/16"}
	if diff := cmp.Diff(want, pool); diff != "" {
		t.Errorf("pool (-want +got):\n%s", diff)
	}
	gateway := map[string]string{"RequestAddressType": "com.docker.network.gateway"}
	for _, step := range []struct {
		addr    string
		options map[string]string
		want    string
	}{
		{"10.50.0.1", gateway, "10.50.0.1/16"},
		{"", gateway, "10.50.0.1/16"},
		{"10.50.8.5", nil, "10.50.8.5/16"},
		{"10.50.8.6", map[string]string{"com.docker.network.endpoint.name": "c1"}, "10.50.8.6/16"},
	} {
		got, err := d.RequestAddress(ctx, &ipam.RequestAddressRequest{PoolID: pool.PoolID, Address: step.addr, Options: step.options})
		if err != nil || got.Address != step.want {
			t.Errorf("%q with %v gives %v, %v, want %s", step.addr, step.options, got, err, step.want)
		}
	}
	got, err := d.RequestAddress(ctx, &ipam.RequestAddressRequest{PoolID: pool.PoolID})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, addr := range []string{got.Address, "10.50.0.1", "10.50.8.5", "10.50.8.6", "10.50.77.77"} {
			if err := d.ReleaseAddress(ctx, &ipam.ReleaseAddressRequest{PoolID: pool.PoolID, Address: addr}); err != nil {
				t.Errorf("release %s: %v", addr, err)
			}
		}
		for _, id := range []string{pool.PoolID, "10.99.0.0/16"} {
			if err := d.ReleasePool(ctx, &ipam.ReleasePoolRequest{PoolID: id}); err != nil {
				t.Errorf("release pool %s: %v", id, err)
			}
		}
	}
}

func TestDriverRefusesWhatItCannotParse(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, "h1", newMemory())
	d := NewDriver(h.Allocator, h.config.Log)
	for _, r := range []ipam.RequestPoolRequest{
		{},
		{AddressSpace: "LocalDefault"},
		{AddressSpace: "weft", Pool: "x"},
		{AddressSpace: "weft", Pool: "10.1.0.1/16"},
		{AddressSpace: "weft", Pool: "10.1.0.0/16", SubPool: "x"},
		{AddressSpace: "weft", Pool: "fd00::/64"},
	} {
		if got, err := d.RequestPool(ctx, &r); err == nil {
			t.Errorf("%+v gives %v", r, got)
		}
	}
	for _, r := range []ipam.RequestAddressRequest{
		{},
		{PoolID: "10.1.0.0/16", Address: "x"},
		{PoolID: "10.1.0.0/16", Address: "10.1.0.7"}, // no such pool
		{PoolID: "10.1.0.0/16"},
	} {
		if got, err := d.RequestAddress(ctx, &r); err == nil {
			t.Errorf("%+v gives %v", r, got)
		}
	}
	if d.ReleaseAddress(ctx, &ipam.ReleaseAddressRequest{}) == nil || d.ReleasePool(ctx, &ipam.ReleasePoolRequest{}) == nil {
		t.Error("an empty request is answered")
	}
}

func FuzzParseAddr(f *testing.F) {
	f.Add("10.1.0.7/16")
	f.Add("::ffff:10.1.0.7")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := parseAddr(s); err == nil && (a.Zone() != "" || a.Is4In6()) {
			t.Errorf("%q becomes %v", s, a)
		}
	})
}

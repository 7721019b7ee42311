package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kvstore"
)

func put(t *testing.T, s kvstore.Store, key, value string) {
	t.Helper()
	if _, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, s kvstore.Store, key string) {
	t.Helper()
	if _, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: key}); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s kvstore.Store, key string) kvstore.Pair {
	t.Helper()
	p, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// passes says whether the host passes over exactly these keys.
func (m *machine) passes(keys ...string) bool {
	var got []string
	for _, r := range m.skipped.Records() {
		got = append(got, r.Key)
	}
	slices.Sort(keys)
	return slices.Equal(got, keys)
}

// strangeRecords are keys and values that stop nothing.
var strangeRecords = map[string]string{
	"host/":             "",
	"host/oops":         "x",
	"host/h2/folder/":   "",
	"host/a/b/doc":      "{}",
	"host/h9/doc":       `{"name":"h9","inc":"9","vtep":"224.0.0.1"}`,
	"host/h8/doc":       `{"name":"h8","inc":"8","vtep":"127.0.0.1"}`,
	"host/h7/doc":       `{"name":"h7","inc":"7","vtep":"0.0.0.0"}`,
	"host/h6/doc":       `{"name":"h6","inc":"6","vtep":"192.0.2.2"}`, // h1's own
	"host/h5/doc":       `{"name":"h4","inc":"5","vtep":"192.0.2.5"}`,
	"host/h3/owner":     `{}`,
	"host/h4/doc":       `{"name":"h4","inc":"4","vtep":"192.0.2.44","v":2}`,
	"net/":              "",
	"net/abcabcabcab0":  `{"id":"abcabcabcab0","vni":"70000"}`,
	"net/abcabcabcab1":  "",
	"net/abcabcabcab2":  "\x00\x01",
	"net/abcabcabcab3":  `{"id":"abcabcabcab3","vni":0,"subnets":[{"prefix":"10.9.0.0/24"}]}`,
	"net/abcabcabcab4":  `{"id":"abcabcabcab4","vni":16777215,"subnets":[{"prefix":"10.9.0.0/24"}]}`,
	"net/abcabcabcab5":  `{"id":"abcabcabcab5","vni":70005,"subnets":[{"prefix":"10.0.0.0/8"}],"created":"2001-01-01T00:00:00Z"}`,
	"net/abcabcabcab6":  `{"id":"abcabcabcab6","vni":70006,"subnets":[{"prefix":"10.9.0.0/24"}],"v":2}`,
	"net/abcabcabcab7":  `{"id":"abcabcabcab7","vni":70007,"name":"a//b","subnets":[{"prefix":"10.9.0.0/24"}]}`,
	"net/abcabcabcab8":  `{"id":"abcabcabcab8","vni":70008,"labels":{"a":"` + strings.Repeat("x", 400<<10) + `"}}`,
	"net/abcabcabcab9":  `{"id":"another","vni":70009,"subnets":[{"prefix":"10.9.0.0/24"}]}`,
	"at/h1/":            "",
	"addr/":             "",
	"addr/oops":         "x",
	"addr/10.1.0.0_24/": "",
	"pool/":             "",
	"pool/oops":         "x",
}

// strangeWords are in what is said of some of them.
var strangeWords = map[string]string{
	"host/h9/doc":      "underlay address 224.0.0.1, at which no host can be reached",
	"host/h8/doc":      "underlay address 127.0.0.1, at which no host can be reached",
	"host/h7/doc":      "underlay address 0.0.0.0, at which no host can be reached",
	"host/h6/doc":      "192.0.2.2",
	"net/abcabcabcab3": "VNI 0",
	"net/abcabcabcab4": "VNI 16777215",
	"net/abcabcabcab5": "subnet",
}

// One unusable record after the other is passed over and named, and everything else
// goes on: what others have is seen, and a host that starts takes part.
func TestUnusableRecordsStopNothing(t *testing.T) {
	cluster := &registrytest.Shown{Store: registrytest.OpenStore(t, "cluster.db")}
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	eventually(t, "h1 sees h2 attached", func() bool { return h1.attachedPeer(n.ID, "h2") })
	for key, value := range strangeRecords {
		cluster.Show(key, value)
	}
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees a new container", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
	other := h1.create("d3", want(subnetB))
	eventually(t, "h2 sees a new network", func() bool { return h2.sees(other.ID) })

	h1.stop()
	h1.real = true
	h1.start(cluster)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go func() { _ = h1.addrs.Run(ctx) }()
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	h1.do("keep", h1.addrs.Keep(t.Context(), []netip.Prefix{subnetA, subnetB}))
	eventually(t, "a host that starts takes its lease", func() bool { return read(t, cluster, "host/h1/live").Held })
	eventually(t, "it may claim", h1.mayClaim)
	var keys []string
	for key := range strangeRecords {
		keys = append(keys, key)
	}
	eventually(t, "it names all of them, "+skipped.Names(h1.skipped.Records()), func() bool { return h1.passes(keys...) })
	for _, r := range h1.skipped.Records() {
		if text := r.Text(); strings.Contains(text, "\n") || !strings.Contains(text, strangeWords[r.Key]) {
			t.Errorf("%q is not one sentence with %q", text, strangeWords[r.Key])
		}
	}
	if known := len(h1.Networks()); known != 2 {
		t.Errorf("it knows %d networks, not 2", known)
	}
	for _, s := range h1.HostStates() {
		if s.Name != "h2" && s.Name != "h6" { // who is h6 may be told, and nothing is sent to it
			t.Errorf("it knows a host %q", s.Name)
		}
	}
	h2.stop()
	within(t, 30*time.Second, "h1 sees that h2 has no lease", func() bool {
		return slices.ContainsFunc(h1.HostStates(), func(s registry.HostState) bool { return s.Name == "h2" && !s.Live })
	})
	if _, sent := h1.Snapshot().Hosts["h6"]; sent {
		t.Error("what is sent to a host with this host's own address comes back")
	}
}

// A record that can be used no more says nothing: it is neither deleted nor lost, and
// when a person has deleted it, what it said comes back.
func TestWhatBecomesUnusableStays(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees it", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
	h2.stop() // else it mends its own
	epoch := read(t, cluster, "net/.epoch").Revision
	all := []string{"net/" + n.ID, "host/h2/doc", "at/h2/" + n.ID}
	for _, key := range all {
		put(t, cluster, key, "x")
	}
	eventually(t, "h1 passes over two", func() bool { return h1.passes("net/"+n.ID, "host/h2/doc") })
	h1.restart(cluster)
	eventually(t, "h1 passes over two after a restart", func() bool { return h1.passes("net/"+n.ID, "host/h2/doc") })
	if !h1.sees(n.ID) || !h1.peerHas(n.ID, "h2", "e2") {
		t.Error("what cannot be read is taken for deleted")
	}
	eventually(t, "h1 may claim again", h1.mayClaim)
	h1.do("a name for it", errOf(h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}), func(err error) bool { return format.AsFault(err) != nil }))
	remove(t, cluster, "net/"+n.ID)
	eventually(t, "h1 records it again", func() bool {
		_, err := cluster.Get(t.Context(), "net/"+n.ID)
		return err == nil
	})
	remove(t, cluster, "host/h2/doc")
	eventually(t, "h1 passes over nothing", func() bool { return h1.passes() })
	if now := read(t, cluster, "net/.epoch").Revision; now != epoch {
		t.Error("it was taken for a loss of the store's data")
	}
	h2.start(cluster)
	eventually(t, "h2 records itself again", func() bool {
		_, err := cluster.Get(t.Context(), "host/h2/doc")
		return err == nil && h1.peerHas(n.ID, "h2", "e2")
	})
}

// errOf wants an error.
func errOf(err error, is func(error) bool) error {
	if err == nil || !is(err) || strings.Contains(err.Error(), "\n") {
		return fmt.Errorf("it is not refused as it should be: %w", err)
	}
	return nil
}

// A host mends its own record at once.
func TestAHostMendsItsOwnRecord(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "h1 knows h2", func() bool { return len(h1.HostStates()) == 1 })
	put(t, cluster, "host/h2/doc", "x")
	eventually(t, "h2 has written it again", func() bool { return json.Valid(read(t, cluster, "host/h2/doc").Value) })
	eventually(t, "nothing is passed over", func() bool { return h1.passes() && h2.passes() })
}

// The owner's record of a host that has left is nobody's to mend: it is told until a
// person has mended or deleted it. A host that runs mends its own at once.
func TestAnUnusableOwnerIsTold(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "h1 knows h2", func() bool { return len(h1.HostStates()) == 1 })
	owner := string(read(t, cluster, "host/h2/owner").Value)
	put(t, cluster, "host/h2/owner", "x")
	eventually(t, "h2 has written it again", func() bool { return json.Valid(read(t, cluster, "host/h2/owner").Value) && h1.passes() && h2.passes() })
	h2.stop()
	h2.do("retire", h2.Departure().Retire(t.Context()))
	eventually(t, "h2 has left", func() bool { return len(h1.HostStates()) == 0 })
	for _, value := range []string{"x", "null", "{}", `{"run":7}`, `{"run":"r","former":7}`, owner[:len(owner)/2], strings.TrimSuffix(owner, "}") + `,"v":2}`} {
		put(t, cluster, "host/h2/owner", value)
		eventually(t, "h1 tells "+value, func() bool { return h1.passes("host/h2/owner") })
		put(t, cluster, "host/h2/owner", owner)
		eventually(t, "it is mended", func() bool { return h1.passes() })
	}
	put(t, cluster, "host/h2/owner", "x")
	eventually(t, "h1 tells it", func() bool { return h1.passes("host/h2/owner") })
	remove(t, cluster, "host/h2/owner")
	eventually(t, "it is deleted", func() bool { return h1.passes() })
}

// An epoch that cannot be read stops new claims and nothing else. It is no loss.
func TestAnUnusableEpochStopsClaimsOnly(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "both may claim", func() bool { return h1.mayClaim() && h2.mayClaim() })
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	for _, value := range []string{"x", "{}", `{"n":9,"epoch":"nine","by":"h9","at":"2026-01-01T00:00:00Z","v":2}`} {
		put(t, cluster, "net/.epoch", value)
		eventually(t, "no host claims", func() bool { return !h1.mayClaim() && !h2.mayClaim() && h1.passes("net/.epoch") })
		if _, _, err := h1.Claims().Admit(); !errors.Is(err, registry.ErrFrozen) || !strings.Contains(err.Error(), "net/.epoch") {
			t.Errorf("the refusal is %v", err)
		}
		h1.restart(cluster)
		eventually(t, "a host that starts takes its lease", func() bool { return read(t, cluster, "host/h1/live").Held })
		h1.join("e1", n.ID, "10.1.0.6")
		eventually(t, "h2 sees a new container", func() bool { return h2.peerHas(n.ID, "h1", "e1") })
		h1.do("delete", h1.DeleteEndpoint(t.Context(), "e1"))
		eventually(t, "h2 sees it go", func() bool { return !h2.peerHas(n.ID, "h1", "e1") })
		if got := string(read(t, cluster, "net/.epoch").Value); got != value {
			t.Errorf("a host has written over it: %s", got)
		}
	}
	remove(t, cluster, "net/.epoch")
	eventually(t, "both may claim in the next epoch", func() bool { return h1.mayClaim() && h2.mayClaim() && h1.passes() })
}

// The cluster's identity stays what it was while its record cannot be used, and hosts
// publish all the same.
func TestAnUnusableIdentityStopsNothing(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	eventually(t, "it knows the cluster", func() bool { return h1.Keyring().Meta().ID != "" })
	meta := h1.Keyring().Meta()
	put(t, cluster, "meta", "x")
	h1.restart(cluster)
	h2 := newMachine(t, "h2", cluster) // which has never known it
	n := h1.create("d1", want(subnetA))
	eventually(t, "h2 sees a network", func() bool { return h2.sees(n.ID) && len(h2.HostStates()) == 1 })
	eventually(t, "both pass the record over", func() bool { return h1.passes("meta") && h2.passes("meta") })
	if h1.Keyring().Meta().ID != meta.ID {
		t.Errorf("the identity is %v and was %v", h1.Keyring().Meta(), meta)
	}
	h2.stop() // it would make a new one up, as in a new cluster
	remove(t, cluster, "meta")
	h1.restart(cluster)
	eventually(t, "it is written again", func() bool {
		p, err := cluster.Get(t.Context(), "meta")
		return err == nil && strings.Contains(string(p.Value), meta.ID)
	})
}

// What this version does not know of a network's record stays when it is changed, in
// the store and in what hosts keep.
func TestUnknownMembersSurvive(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	n := h1.create("d1", want(subnetA))
	record := string(read(t, cluster, "net/"+n.ID).Value)
	record = strings.Replace(record, `"prefix":`, `"dhcp":{"lease": 3},"prefix":`, 1)
	put(t, cluster, "net/"+n.ID, strings.TrimSuffix(record, "}")+`,"encrypted":true,"key":{"id":1}}`)
	kept := func(what string) {
		t.Helper()
		for _, member := range []string{`"encrypted":true`, `"key":{"id":1}`, `"dhcp":{"lease":3}`} {
			if got := string(read(t, cluster, "net/"+n.ID).Value); !strings.Contains(got, member) {
				t.Errorf("%s: %s is gone: %s", what, member, got)
			}
		}
	}
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	kept("named")
	h1.restart(cluster)
	eventually(t, "it may claim", h1.mayClaim)
	remove(t, cluster, "net/"+n.ID)
	eventually(t, "it is recorded again", func() bool {
		_, err := cluster.Get(t.Context(), "net/"+n.ID)
		return err == nil
	})
	kept("recorded again")
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	eventually(t, "it is removed", func() bool { return strings.Contains(string(read(t, cluster, "net/"+n.ID).Value), `"deleted"`) })
	kept("removed")
}

// What only a later weft may write is read, and each change of it is refused in one
// sentence.
func TestRecordsForALaterWriter(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	n := h1.create("d1", want(subnetA))
	record := strings.TrimSuffix(string(read(t, cluster, "net/"+n.ID).Value), "}") + `,"mtu":1300,"w":2}`
	put(t, cluster, "net/"+n.ID, record)
	eventually(t, "it is read", func() bool { got, _ := h1.Network(n.ID); return got.MTU == 1300 })
	err := h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"})
	h1.do("name", errOf(err, func(err error) bool { return strings.Contains(err.Error(), "update weft") }))
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	eventually(t, "its removal is given up", func() bool { return len(h1.Networks()) == 1 })
	h1.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	if got := string(read(t, cluster, "net/"+n.ID).Value); got != record {
		t.Errorf("it was written: %s", got)
	}
}

// A container with more names than a record has room for keeps nothing from being
// published.
func TestMoreNamesThanFit(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	for k := range 40 {
		names := []string{fmt.Sprintf("box%d", k), strings.Repeat("x", 300)}
		for i := range 1300 {
			names = append(names, fmt.Sprintf("%d%058d", k, i))
		}
		id := fmt.Sprintf("e1%d", k)
		h1.join(id, n.ID, fmt.Sprintf("10.1.0.%d", 10+k))
		h1.do("name", h1.NameEndpoint(t.Context(), id, names))
	}
	n2 := h1.create("d5", want(subnetB))
	h2.create("d6", overlay.Network{ID: waitID(t, h2, n2), Subnets: n2.Subnets})
	h1.join("e2", n2.ID, "10.2.0.6")
	eventually(t, "h2 sees another container of h1 in another network", func() bool { return h2.peerHas(n2.ID, "h1", "e2") })
	eventually(t, "h2 sees all of them, each with its name", func() bool {
		at, _ := h2.Direct().PeerAttachment("h1", n.ID)
		return len(at.Endpoints) == 40 && !slices.ContainsFunc(at.Endpoints, func(e overlay.PeerEndpoint) bool {
			return !strings.HasPrefix(e.Name, "box") || len(e.Names) == 0 || e.Names[0] != e.Name
		})
	})
	if err := h1.Contact().Err; err != nil {
		t.Error("the store seems to be away:", err)
	}
	if !h1.passes("at/h1/" + n.ID) {
		t.Errorf("it is not told: %v", h1.skipped.Records())
	}
	if text := h1.skipped.Records()[0].Text(); !strings.Contains(text, "names of a container") {
		t.Error(text)
	}
}

// An address's record that cannot be read is somebody's: neither this host's own nor
// another's is lost or given out by that.
func TestAnUnusableAddressIsSomebodys(t *testing.T) {
	s := newTrio(t)
	free := netip.MustParseAddr("10.1.0.77")
	put(t, s.cluster, "addr/10.1.0.0_24/"+used.String(), "x") // of h3's container
	put(t, s.cluster, "addr/10.1.0.0_24/"+free.String(), `{"h":"h9","i":"9","v":2}`)
	s.h3.do("verify", s.h3.addrs.Verify(t.Context(), false))
	e, _ := s.h3.Endpoint("e3")
	if e.Phase != overlay.Joined {
		t.Errorf("the container is %s", e.Phase)
	}
	for _, a := range []netip.Addr{used, free} {
		s.h1.do("claim", errOf(s.h1.claim(a), func(error) bool { return true }))
	}
	s.h1.do("verify", s.h1.addrs.Verify(t.Context(), false))
	remove(t, s.cluster, "addr/10.1.0.0_24/"+used.String())
	s.h3.do("verify", s.h3.addrs.Verify(t.Context(), false))
	if got := string(read(t, s.cluster, "addr/10.1.0.0_24/"+used.String()).Value); !strings.Contains(got, `"h3"`) {
		t.Errorf("its owner does not record it again: %s", got)
	}
}

// A pool's record that cannot be read still keeps its subnet.
func TestAnUnusablePoolKeepsItsSubnet(t *testing.T) {
	s := newTrio(t)
	key := "pool/10.1.0.0_24"
	before := string(read(t, s.cluster, key).Value)
	put(t, s.cluster, key, "x")
	_, err := s.h1.addrs.RequestPool(t.Context(), ipam.PoolRequest{Subnet: netip.MustParsePrefix("10.1.0.0/25")})
	s.h1.do("an overlapping pool", errOf(err, func(error) bool { return true }))
	s.h3.do("verify", s.h3.addrs.Verify(t.Context(), false))
	s.h3.do("another claim", s.h3.claim(netip.MustParseAddr("10.1.0.40")))
	remove(t, s.cluster, key)
	s.h3.do("verify", s.h3.addrs.Verify(t.Context(), false))
	if got := string(read(t, s.cluster, key).Value); !strings.Contains(got, "10.1.0.0/24") {
		t.Errorf("it was %s and is recorded again as %s", before, got)
	}
}

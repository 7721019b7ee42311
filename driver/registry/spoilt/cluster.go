// Package spoilt is for tests: it makes the store of a cluster at random, spoils
// records in it, and checks that a host goes on with all that is left.
package spoilt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// epochID is that of every cluster's epoch.
const epochID = "0123456789ab"

// Cluster is what the store of a cluster has, and what of that is whole.
type Cluster struct {
	Pairs map[string]string // by key
	whole map[string]bool   // keys whose records nobody has touched

	networks  []overlay.Network
	hosts     []string
	endpoints map[[2]string]string // endpoint id by host and network
}

// New makes a cluster of some hosts and networks, in which nothing is wrong.
func New(rnd *rand.Rand) *Cluster {
	c := &Cluster{Pairs: map[string]string{}, whole: map[string]bool{}, endpoints: map[[2]string]string{}}
	c.put("meta", map[string]any{"id": "c0ffee", "ula": "fd00:1:2::/48"})
	c.put("net/.epoch", map[string]any{"n": 3, "epoch": epochID, "by": "p1", "at": time.Now().UTC()})
	for i := range 1 + rnd.IntN(5) {
		c.network(i)
	}
	for i := range 1 + rnd.IntN(4) {
		c.host(rnd, fmt.Sprintf("p%d", i+1), i)
	}
	for key := range c.Pairs {
		c.whole[key] = true
	}
	return c
}

func (c *Cluster) put(key string, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	c.Pairs[key] = string(b)
	return b
}

func (c *Cluster) network(i int) {
	p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24) //nolint:gosec // a few
	n := overlay.Network{
		ID: fmt.Sprintf("%012x", 0xa0+i), Name: fmt.Sprintf("net-%d", i), VNI: uint32(70000 + i), Host: "p1", //nolint:gosec // a few
		Created: time.Date(2026, 1, 1, 0, i, 0, 0, time.UTC), Subnets: []overlay.Subnet{{Prefix: p, Gateway: p.Addr().Next()}},
	}
	c.networks = append(c.networks, n)
	c.put("net/"+n.ID, n)
	c.Pairs["name/"+n.Name], c.Pairs[fmt.Sprintf("vni/%d", n.VNI)] = n.ID, n.ID
	c.put("pool/"+slot(p), map[string]any{"subnet": p, "host": "p1", "at": n.Created})
}

func (c *Cluster) host(rnd *rand.Rand, name string, i int) {
	c.hosts = append(c.hosts, name)
	digests := map[string]string{}
	for j, n := range c.networks {
		if rnd.IntN(3) == 0 {
			continue
		}
		at := overlay.Attachment{Network: n.ID, Host: name, Incarnation: "inc-" + name, Seq: uint64(j + 1)} //nolint:gosec // a few
		for k := range 2 {
			a := n.Subnets[0].Prefix.Addr().As4()
			a[3] = byte(10 + 10*i + k) //nolint:gosec // a few
			addr := netip.AddrFrom4(a)
			if k == 0 {
				id := fmt.Sprintf("e-%s-%s", name, n.ID)
				at.Endpoints = append(at.Endpoints, overlay.PeerEndpoint{ID: id, MAC: overlay.MACOf(n.ID, addr), Addrs: []netip.Addr{addr}, Name: "box"})
				c.endpoints[[2]string{name, n.ID}] = id
			} else {
				at.Stock, at.Asks = append(at.Stock, addr), append(at.Asks, addr.Next())
			}
			c.put("addr/"+slot(n.Subnets[0].Prefix)+"/"+addr.String(), map[string]any{"h": name, "i": "inc-" + name, "e": 3})
		}
		sum := sha256.Sum256(c.put("at/"+name+"/"+n.ID, at))
		digests[n.ID] = hex.EncodeToString(sum[:6])
	}
	c.put("host/"+name+"/doc", map[string]any{
		"name": name, "inc": "inc-" + name, "vtep": fmt.Sprintf("192.0.2.%d", 10+i), "port": 4789, "mtu": 1500, "version": "v",
		"digests": digests, "seq": len(c.networks), "epoch": epochID, "settled": true,
	})
	c.put("host/"+name+"/owner", map[string]any{"machine": map[string]any{"id": name}, "inc": "inc-" + name, "run": "run-" + name, "vtep": fmt.Sprintf("192.0.2.%d", 10+i)})
}

func slot(p netip.Prefix) string { return strings.Replace(p.String(), "/", "_", 1) }

// Spoil does something bad to n records. Not to the epoch's and the cluster's: what
// follows from these is another test's; nor to one host's, from which new hosts learn
// that they may claim at once.
func (c *Cluster) Spoil(rnd *rand.Rand, n int) {
	for range n {
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(c.Pairs)), func(k string) bool { return k == "meta" || k == "net/.epoch" || k == "host/p1/doc" })
		key := keys[rnd.IntN(len(keys))]
		value := c.Pairs[key]
		switch rnd.IntN(8) {
		case 0, 1, 2:
			c.spoil(Broken(rnd, key, value))
		case 3: // a member is something else
			c.spoil(key, bent(rnd, value))
		case 4: // for a later version
			c.spoil(key, strings.TrimSuffix(value, "}")+`,"v":2}`)
		case 5: // twice
			c.spoil(key[:1+rnd.IntN(len(key))]+fmt.Sprintf("x%d", rnd.IntN(100)), value)
		case 6: // a byte is another
			if b := []byte(value); len(b) > 0 {
				b[rnd.IntN(len(b))] = byte(rnd.IntN(256)) //nolint:gosec // a byte
				c.spoil(key, string(b))
			}
		case 7: // another record under its key
			c.spoil(key, c.Pairs[keys[rnd.IntN(len(keys))]])
		}
	}
}

// Broken gives a key and a value of which everybody sees that it is no record of
// weft's: the record cut off, something else under its key, or something under a key
// of nobody's.
func Broken(rnd *rand.Rand, key, value string) (string, string) {
	switch rnd.IntN(3) {
	case 0:
		return key, value[:rnd.IntN(max(len(value), 1))]
	case 1:
		return key, garbage[rnd.IntN(len(garbage))]
	default:
		return strangeKeys[rnd.IntN(len(strangeKeys))], garbage[rnd.IntN(len(garbage))]
	}
}

func (c *Cluster) spoil(key, value string) {
	if c.Pairs[key] == value && c.whole[key] {
		return
	}
	c.Pairs[key] = value
	delete(c.whole, key)
}

// bent changes one member of a record.
func bent(rnd *rand.Rand, value string) string {
	var members map[string]any
	if json.Unmarshal([]byte(value), &members) != nil || len(members) == 0 {
		return value
	}
	names := slices.Sorted(maps.Keys(members))
	members[names[rnd.IntN(len(names))]] = values[rnd.IntN(len(values))]
	b, _ := json.Marshal(members) // it was JSON before
	return string(b)
}

var (
	garbage = []string{
		"", "x", "null", "true", "7", `"text"`, "[]", "{}", "{", "\x00\xff\xfe", `{"id":7}`, `{"name":"` + strings.Repeat("y", 400<<10) + `"}`,
		strings.Repeat("[", 20000), `{"v":99}`, `{"h":""}`, `{"subnet":"0.0.0.0/0"}`,
	}
	values = []any{
		nil, "", "x", 0, -1, 1 << 30, 1.5, true,
		[]any{},
		map[string]any{},
		"0.0.0.0", "127.0.0.1", "224.0.0.1", "::", "ff02::1", "10.1.0.0/24",
		[]any{map[string]any{"prefix": "10.1.0.0/16"}},
		[]any{map[string]any{}},
		map[string]any{"../x": "y", "": "z"},
		"a/b//c", "\x00", strings.Repeat("n", 600),
	}
	strangeKeys = []string{
		"host/", "host/oops", "host//doc", "host/a/b/doc", "host/p1/", "host/p1/other", "net/", "net/x/y", "net/ ", "at/", "at/p1/", "at/new/", "at/new/x/y",
		"addr/", "addr/oops", "addr/10.1.0.0_24/", "addr/10.1.0.0_24/oops", "addr/10.1.0.0_24/10.2.0.1", "addr/x/10.1.0.1", "addr/10.1.0.0_24/10.1.0.200/x",
		"pool/", "pool/oops", "pool/10.1.0.0_33", "pool/10.1.0.1_24", "name/", "vni/", "vni/x", "probe/", "other", "host/\x01/doc", "net/\xff",
	}
)

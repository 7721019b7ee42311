package ipam

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// Keys of the Cluster store.
const (
	poolPrefix = "pool/"
	poolSeq    = "pool/.seq" // compare-and-set with every new pool, so that overlap checks are serialised
	addrPrefix = "addr/"
)

// Keys of the State store.
const (
	heldPrefix  = "ipam/pool/"
	claimPrefix = "ipam/claim/"
)

// poolRecord is a pool's value in Cluster.
type poolRecord struct {
	Subnet  netip.Prefix `json:"subnet"`
	Range   netip.Prefix `json:"range,omitzero"`
	Gateway netip.Addr   `json:"gateway,omitzero"`
	Aux     []netip.Addr `json:"aux,omitempty"`
	Chosen  bool         `json:"chosen,omitempty"` // a person has named the subnet
	Group   string       `json:"group,omitempty"`  // shared by networks of other drivers on several hosts
	Hosts   []string     `json:"hosts,omitempty"`  // of a group: who uses it; sorted
	Host    string       `json:"host"`             // where it was made
	At      time.Time    `json:"at"`
	Rest    overlay.Rest `json:"-"`
}

// MarshalJSON implements json.Marshaler.
func (r poolRecord) MarshalJSON() ([]byte, error) {
	type plain poolRecord
	return overlay.MarshalRest(plain(r), r.Rest)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *poolRecord) UnmarshalJSON(b []byte) (err error) {
	type plain poolRecord
	var p plain
	rest, err := overlay.UnmarshalRest(b, &p)
	*r = poolRecord(p)
	r.Rest = rest
	return err
}

func (r poolRecord) id() space.PoolID { return space.PoolID{Subnet: r.Subnet, Range: r.Range} }

// held is a pool's value in State: what this host knows of it and how often
// Docker has asked for it.
type held struct {
	Pool     poolRecord `json:"pool"`
	Count    int        `json:"count"`              // RequestPool minus ReleasePool
	Attached bool       `json:"attached,omitempty"` // has been a network's of this host since At
	Unsure   bool       `json:"unsure,omitempty"`   // it may or may not have been made in Cluster
	At       time.Time  `json:"at"`                 // of the last RequestPool
}

// holder is an address's value in Cluster.
type holder struct {
	Host        string `json:"h"`
	Incarnation string `json:"i"`
	birth
	Rest overlay.Rest `json:"-"`
}

// MarshalJSON implements json.Marshaler.
func (h holder) MarshalJSON() ([]byte, error) {
	type plain holder
	return overlay.MarshalRest(plain(h), h.Rest)
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *holder) UnmarshalJSON(b []byte) (err error) {
	type plain holder
	var p plain
	rest, err := overlay.UnmarshalRest(b, &p)
	*h = holder(p)
	h.Rest = rest
	return err
}

// birth is when an address was claimed first: revisions grow within an epoch of
// Cluster, and epochs from one to the next.
type birth struct {
	Epoch    uint64 `json:"e,omitempty"`
	Revision uint64 `json:"r,omitempty"` // of the key then; 0: it has not been written since
}

func (b birth) before(o birth) bool {
	return b.Epoch < o.Epoch || b.Epoch == o.Epoch && b.Revision != 0 && b.Revision < o.Revision
}

// born is when the holder of a key with this revision claimed the address.
func (h holder) born(revision uint64) birth {
	if h.Revision == 0 {
		h.Revision = revision
	}
	return h.birth
}

// status is what this host does with an address that it has claimed.
type status string

const (
	inStock status = "stock"
	inUse   status = "used"
	leaving status = "leaving" // a delete may be under way: not to be used before the key is gone
)

// claim is an address's value in State.
type claim struct {
	State    status    `json:"state"`
	At       time.Time `json:"at"` // since when in this state
	Explicit bool      `json:"explicit,omitempty"`
	Born     birth     `json:"born,omitzero"`
	Lost     string    `json:"lost,omitempty"` // the host that has it according to Cluster
}

// used is the claim of an address that Docker gets now.
func (c claim) used(now time.Time, explicit bool) *claim {
	return &claim{State: inUse, At: now, Explicit: explicit, Born: c.Born}
}

// slot is a prefix as one element of a key.
func slot(p netip.Prefix) string { return strings.Replace(p.String(), "/", "_", 1) }

func parseSlot(s string) (netip.Prefix, error) {
	return netip.ParsePrefix(strings.Replace(s, "_", "/", 1))
}

func poolKey(p netip.Prefix) string { return poolPrefix + slot(p) }

func heldKey(p netip.Prefix) string { return heldPrefix + slot(p) }

func addrKey(p netip.Prefix, a netip.Addr) string { return addrPrefix + slot(p) + "/" + a.String() }

func claimKey(p netip.Prefix, a netip.Addr) string { return claimPrefix + slot(p) + "/" + a.String() }

// parseAddrKey is the reverse of addrKey and claimKey.
func parseAddrKey(prefix, key string) (netip.Prefix, netip.Addr, error) {
	rest, ok := strings.CutPrefix(key, prefix)
	pool, addr, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q is no address's", key)
	}
	p, err := parseSlot(pool)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q: %w", key, err)
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q: %w", key, err)
	}
	if p != p.Masked() || !p.Contains(a) || a.Zone() != "" || prefix+slot(p)+"/"+a.String() != key {
		return netip.Prefix{}, netip.Addr{}, fmt.Errorf("key %q: the address is not in the pool", key)
	}
	return p, a, nil
}

// decode reads one record of State, naming its key on failure.
func decode[T any](p kvstore.Pair) (T, error) {
	var v T
	if err := json.Unmarshal(p.Value, &v); err != nil {
		return v, fmt.Errorf("record %s: %w", p.Key, err)
	}
	return v, nil
}

// decodePool reads a pool's record in Cluster. A format.Fault in the error says why it
// cannot be used.
func decodePool(p kvstore.Pair) (poolRecord, error) {
	r, err := format.Decode[poolRecord](p.Value)
	if err == nil {
		err = checkPool(p.Key, r)
	}
	if err != nil {
		return poolRecord{}, fmt.Errorf("the store's record %s %w", p.Key, err)
	}
	return r, nil
}

// checkPool says which value of a pool's record cannot be.
func checkPool(key string, r poolRecord) error {
	switch {
	case !r.Subnet.IsValid() || poolKey(r.Subnet) != key:
		return format.Faultf(format.Senseless, "has the subnet %v", r.Subnet)
	case space.CheckPrefix(r.Subnet) != nil:
		return format.Faultf(format.Senseless, "is wrong: %v", space.CheckPrefix(r.Subnet))
	case r.id().Check() != nil:
		return format.Faultf(format.Senseless, "is wrong: %v", r.id().Check())
	case r.Gateway.IsValid() && !r.Subnet.Contains(r.Gateway):
		return format.Faultf(format.Senseless, "has the gateway %v, which is not in its subnet", r.Gateway)
	case r.Host == "":
		return format.Faultf(format.Senseless, "names no host")
	}
	return nil
}

// decodeHolder reads whose an address is in Cluster. A format.Fault in the error says
// why that is not known: the address is somebody's, and no more.
func decodeHolder(p kvstore.Pair) (holder, error) {
	h, err := format.Decode[holder](p.Value)
	if err == nil && h.Host == "" {
		err = format.Faultf(format.Senseless, "names no host")
	}
	if err == nil {
		err = format.MayWrite(p.Value)
	}
	if err != nil {
		return holder{}, fmt.Errorf("the store's record %s %w", p.Key, err)
	}
	return h, nil
}

// holders is whose the addresses of some pools are in Cluster, and what of that is not
// known.
type holders struct {
	of        map[netip.Prefix]map[netip.Addr]holder
	revisions map[netip.Addr]uint64
	unread    map[netip.Prefix]space.Set // somebody's addresses, whose records cannot be used
	passed    []skipped.Record
}

// readHolders reads the records of addresses.
func readHolders(pairs []kvstore.Pair) holders {
	out := holders{of: map[netip.Prefix]map[netip.Addr]holder{}, revisions: map[netip.Addr]uint64{}, unread: map[netip.Prefix]space.Set{}}
	for _, pair := range pairs {
		subnet, addr, err := parseAddrKey(addrPrefix, pair.Key)
		if err != nil {
			record, _ := skipped.Of(pair.Key, format.Faultf(format.Unknown, "stands under a key that weft does not know"))
			out.passed = append(out.passed, record)
			continue
		}
		h, err := decodeHolder(pair)
		if record, bad := skipped.Of(pair.Key, err); bad {
			out.passed = append(out.passed, record)
			if out.unread[subnet] == nil {
				out.unread[subnet] = space.Set{}
			}
			out.unread[subnet][addr] = struct{}{}
			continue
		}
		if out.of[subnet] == nil {
			out.of[subnet] = map[netip.Addr]holder{}
		}
		out.of[subnet][addr], out.revisions[addr] = h, pair.Revision
	}
	return out
}

// encode cannot fail for this package's own records.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("ipam: a %T that is no JSON: %v", v, err))
	}
	return b
}

// with adds an element to a sorted list, once.
func with(list []string, s string) []string {
	i, found := slices.BinarySearch(list, s)
	if found {
		return list
	}
	return slices.Insert(slices.Clone(list), i, s)
}

// without removes an element of a list.
func without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(t string) bool { return s == t })
}

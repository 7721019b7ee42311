// Package record is how pools and claims are written in the two stores: their keys and
// values, and which records cannot be used. It reads and writes no store.
package record

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
	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// Pool is a pool's value in the shared store.
type Pool struct {
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
func (r Pool) MarshalJSON() ([]byte, error) {
	type plain Pool
	return overlay.MarshalRest(plain(r), r.Rest)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Pool) UnmarshalJSON(b []byte) (err error) {
	type plain Pool
	var p plain
	rest, err := overlay.UnmarshalRest(b, &p)
	*r = Pool(p)
	r.Rest = rest
	return err
}

// ID is what Docker holds for the pool.
func (r Pool) ID() space.PoolID { return space.PoolID{Subnet: r.Subnet, Range: r.Range} }

// Held is a pool's value in a host's state: what the host knows of it and how often its
// Docker has asked for it.
type Held struct {
	Pool     Pool      `json:"pool"`
	Count    int       `json:"count"`              // RequestPool minus ReleasePool
	Attached bool      `json:"attached,omitempty"` // has been a network's of this host since At
	Unsure   bool      `json:"unsure,omitempty"`   // it may or may not have been made in the shared store
	At       time.Time `json:"at"`                 // of the last RequestPool
}

// Decode reads one record of a host's state, naming its key on failure.
func Decode[T any](p kvstore.Pair) (T, error) {
	var v T
	if err := json.Unmarshal(p.Value, &v); err != nil {
		return v, fmt.Errorf("record %s: %w", p.Key, err)
	}
	return v, nil
}

// DecodePool reads a pool's shared record. A format.Fault in the error says why it cannot
// be used.
func DecodePool(p kvstore.Pair) (Pool, error) {
	r, err := format.Decode[Pool](p.Value)
	if err == nil {
		err = checkPool(p.Key, r)
	}
	if err != nil {
		return Pool{}, fmt.Errorf("the store's record %s %w", p.Key, err)
	}
	return r, nil
}

// checkPool says which value of a pool's record cannot be.
func checkPool(key string, r Pool) error {
	switch {
	case !r.Subnet.IsValid() || PoolKey(r.Subnet) != key:
		return format.Faultf(format.Senseless, "has the subnet %v", r.Subnet)
	case space.CheckPrefix(r.Subnet) != nil:
		return format.Faultf(format.Senseless, "is wrong: %v", space.CheckPrefix(r.Subnet))
	case r.ID().Check() != nil:
		return format.Faultf(format.Senseless, "is wrong: %v", r.ID().Check())
	case r.Gateway.IsValid() && !r.Subnet.Contains(r.Gateway):
		return format.Faultf(format.Senseless, "has the gateway %v, which is not in its subnet", r.Gateway)
	case r.Host == "":
		return format.Faultf(format.Senseless, "names no host")
	}
	return nil
}

// DecodeHolder reads whose an address is. A format.Fault in the error says why that is
// not known: the address is somebody's, and no more.
func DecodeHolder(p kvstore.Pair) (claim.Holder, error) {
	h, err := format.Decode[claim.Holder](p.Value)
	if err == nil && h.Host == "" {
		err = format.Faultf(format.Senseless, "names no host")
	}
	if err == nil {
		err = format.MayWrite(p.Value)
	}
	if err != nil {
		return claim.Holder{}, fmt.Errorf("the store's record %s %w", p.Key, err)
	}
	return h, nil
}

// Holders is whose the addresses of some pools are, and of which that is not known.
type Holders struct {
	Of     map[netip.Prefix]claim.Entries
	Unread map[netip.Prefix]space.Set // addresses of somebody whose records cannot be used
	Passed []skipped.Record
}

// ReadHolders reads the shared records of addresses.
func ReadHolders(pairs []kvstore.Pair) Holders {
	out := Holders{Of: map[netip.Prefix]claim.Entries{}, Unread: map[netip.Prefix]space.Set{}}
	for _, pair := range pairs {
		subnet, addr, err := ParseAddrKey(AddrPrefix, pair.Key)
		if err != nil {
			record, _ := skipped.Of(pair.Key, format.Faultf(format.Unknown, "stands under a key that weft does not know"))
			out.Passed = append(out.Passed, record)
			continue
		}
		h, err := DecodeHolder(pair)
		if record, bad := skipped.Of(pair.Key, err); bad {
			out.Passed = append(out.Passed, record)
			if out.Unread[subnet] == nil {
				out.Unread[subnet] = space.Set{}
			}
			out.Unread[subnet][addr] = struct{}{}
			continue
		}
		if out.Of[subnet] == nil {
			out.Of[subnet] = claim.Entries{}
		}
		out.Of[subnet][addr] = claim.Entry{Holder: h, Revision: pair.Revision}
	}
	return out
}

// Pools is all pools of the cluster at one moment. A pool whose record cannot be used has
// nothing but its subnet, which is somebody's.
type Pools struct {
	Records   []Pool
	Revisions []uint64 // of the records
	Seq       uint64   // revision of PoolSeq
	Passed    []skipped.Record
}

// ReadPools reads the shared records of pools.
func ReadPools(pairs []kvstore.Pair) Pools {
	var out Pools
	for _, pair := range pairs {
		if pair.Key == PoolSeq {
			out.Seq = pair.Revision
			continue
		}
		r, err := DecodePool(pair)
		if record, bad := skipped.Of(pair.Key, err); bad {
			subnet, err := ParseSlot(strings.TrimPrefix(pair.Key, PoolPrefix))
			if err != nil || PoolKey(subnet) != pair.Key || space.CheckPrefix(subnet) != nil {
				record, _ = skipped.Of(pair.Key, format.Faultf(format.Unknown, "stands under a key that weft does not know"))
				out.Passed = append(out.Passed, record)
				continue
			}
			out.Passed = append(out.Passed, record)
			r = Pool{Subnet: subnet}
		}
		out.Records = append(out.Records, r)
		out.Revisions = append(out.Revisions, pair.Revision)
	}
	return out
}

// Has says whether there is a pool with exactly this subnet.
func (p *Pools) Has(subnet netip.Prefix) bool {
	return slices.ContainsFunc(p.Records, func(r Pool) bool { return r.Subnet == subnet })
}

// Encode writes a record. It cannot fail for those of this package and of claim.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("record: a %T that is no JSON: %v", v, err))
	}
	return b
}

// With adds an element to a sorted list, once.
func With(list []string, s string) []string {
	i, found := slices.BinarySearch(list, s)
	if found {
		return list
	}
	return slices.Insert(slices.Clone(list), i, s)
}

// Without removes an element of a list.
func Without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(t string) bool { return s == t })
}

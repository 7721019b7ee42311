package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// counted counts the readings of a store.
type counted struct {
	*memory
	lists int
	gets  map[string]int // by key
}

func (c *counted) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	c.lists++
	return c.memory.List(ctx, prefix)
}

func (c *counted) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	c.gets[key]++
	return c.memory.Get(ctx, key)
}

func (c *counted) put(t *testing.T, key, value string) {
	t.Helper()
	op := kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}
	if value == "" {
		op.Kind = kvstore.Delete
	}
	if _, err := c.Txn(t.Context(), op); err != nil {
		t.Fatal(err)
	}
}

// goOn is Run for this long.
func (h *host) goOn(long time.Duration) {
	h.t.Helper()
	for range long / lookTime {
		h.clock.add(lookTime)
		if _, err := h.pass(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}

// A record that was passed over is told no more soon after it was mended or deleted,
// whichever reading passed it over; until then it costs no more than to read it.
func TestAMendedRecordIsSoonToldNoMore(t *testing.T) {
	store := &counted{memory: newMemory(), gets: map[string]int{}}
	h := newHost(t, "h1", store)
	h.config.Skipped = &skipped.List{}
	h.open()
	pool := h.network("n", "10.1.0.0/24", "")
	h.work()
	whole := string(record.Encode(claim.Holder{Host: "h2", Incarnation: "1"}))
	address := record.AddrKey(pool.Subnet, netip.MustParseAddr("10.1.0.200"))
	for key, mended := range map[string]string{
		address:                                whole,
		address + "0":                          "", // a key of nobody's
		"addr/10.9.0.0_24/10.9.0.7":            whole,
		"pool/10.8.0.0_24":                     string(record.Encode(record.Pool{Subnet: netip.MustParsePrefix("10.8.0.0/24"), Host: "h2"})),
		record.AddrPrefix + "10.7.0.0_24/oops": "",
	} {
		store.put(t, key, "x")
		h.goOn(scanTime + lookTime)
		if got := h.config.Skipped.Records(); len(got) != 1 || got[0].Key != key {
			t.Fatalf("passed over is %v and not %s", got, key)
		}
		store.lists, store.gets[key] = 0, 0
		h.goOn(time.Minute)
		// Two readings pass over an address of a pool that is here, and other checks may be
		// due in this minute.
		if most := int(2 * time.Minute / mendTime); store.lists >= most/2 || store.gets[key] == 0 || store.gets[key] > most {
			t.Errorf("%s: in a minute there were %d listings and %d reads", key, store.lists, store.gets[key])
		}
		store.put(t, key, mended)
		h.goOn(mendTime + lookTime)
		if got := h.config.Skipped.Records(); len(got) != 0 {
			t.Errorf("%s was mended and is told: %v", key, got)
		}
		store.gets[key] = 0
		h.goOn(time.Minute)
		if store.gets[key] > 0 {
			t.Errorf("%s: it is read still", key)
		}
	}
}

// However many records are passed over, few are read, and all that are mended are seen.
func TestManyMendedRecordsAreSoonToldNoMore(t *testing.T) {
	store := &counted{memory: newMemory(), gets: map[string]int{}}
	h := newHost(t, "h1", store)
	h.config.Skipped = &skipped.List{}
	h.open()
	pool := h.network("n", "10.1.0.0/24", "")
	h.work()
	keys := make([]string, 3*mostReread)
	for i := range keys {
		keys[i] = record.AddrKey(pool.Subnet, netip.MustParseAddr(fmt.Sprintf("10.1.0.%d", 100+i)))
		store.put(t, keys[i], "x")
	}
	h.goOn(2 * checkTime)
	if got := h.config.Skipped.Records(); len(got) != len(keys) {
		t.Fatalf("passed over are %d", len(got))
	}
	clear(store.gets)
	h.goOn(mendTime)
	read := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return store.gets[key] == 0 })
	if len(read) != mostReread {
		t.Errorf("%d are read", len(read))
	}
	for _, key := range keys {
		store.put(t, key, string(record.Encode(claim.Holder{Host: "h2", Incarnation: "1"})))
	}
	h.goOn(mendTime + lookTime)
	if got := h.config.Skipped.Records(); len(got) != 0 {
		t.Errorf("still told are %d, as %s", len(got), skipped.Names(got))
	}
}

// What was passed over in a pool that this host has no more is told no more.
func TestAPoolThatIsGoneTellsNothing(t *testing.T) {
	store := &counted{memory: newMemory(), gets: map[string]int{}}
	h := newHost(t, "h1", store)
	h.config.Skipped = &skipped.List{}
	h.open()
	pool := h.network("n", "10.1.0.0/24", "")
	h.work()
	store.put(t, record.AddrKey(pool.Subnet, netip.MustParseAddr("10.1.0.200")), "x")
	h.goOn(2 * checkTime)
	if got := h.config.Skipped.Records(); len(got) != 1 || !strings.HasPrefix(got[0].Key, record.AddrPrefix) {
		t.Fatalf("passed over is %v", got)
	}
	h.networks.remove("n")
	if err := h.ReleasePool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	h.goOn(detachTime + mendTime)
	if got := h.config.Skipped.Records(); len(got) != 0 {
		t.Errorf("it is told still: %v", got)
	}
}

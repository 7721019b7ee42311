// Package registrytest has what tests put under a registry: stores in files, and an
// IPAM side that has nothing.
package registrytest

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
)

// OpenStore makes a store in a file of that name, for the time of the test.
func OpenStore(t *testing.T, name string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// NoAddresses is a registry.Addresses with neither stock nor claims.
type NoAddresses struct{}

// Stock implements registry.Addresses.
func (NoAddresses) Stock(netip.Prefix) []netip.Addr { return nil }

// Asks implements registry.Addresses.
func (NoAddresses) Asks(netip.Prefix) []netip.Addr { return nil }

// Held implements registry.Addresses.
func (NoAddresses) Held(netip.Prefix) []netip.Addr { return nil }

// Verify implements registry.Addresses.
func (NoAddresses) Verify(context.Context, bool) error { return nil }

// ClaimsOf implements registry.Addresses.
func (NoAddresses) ClaimsOf(context.Context, string) ([]kvstore.Op, error) { return nil, nil }

// PoolOps implements registry.Addresses.
func (NoAddresses) PoolOps(context.Context, []netip.Prefix) ([]kvstore.Op, error) { return nil, nil }

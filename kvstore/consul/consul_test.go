package consul_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
	"github.com/weft-net/weft/kvstore/kvtest"
)

func TestContract(t *testing.T) {
	kvtest.RunShared(t, func(t *testing.T) (a, b kvstore.Store) {
		cfg := config(t, shared.Addr)
		return open(t, cfg), open(t, cfg)
	})
}

func TestOpenRefuses(t *testing.T) {
	for what, cfg := range map[string]consul.Config{
		"no address":    {Prefix: "weft", Log: quiet()},
		"no prefix":     {Addresses: []string{"127.0.0.1:1"}, Log: quiet()},
		"slash at ends": {Addresses: []string{"127.0.0.1:1"}, Prefix: "/weft/", Log: quiet()},
	} {
		if _, err := consul.Open(cfg); err == nil {
			t.Errorf("Open with %s succeeded", what)
		}
	}
	t.Setenv("CONSUL_CACERT", "/nonexistent/ca.pem")
	if _, err := consul.Open(config(t, "127.0.0.1:1")); err == nil || !strings.Contains(err.Error(), "/nonexistent/ca.pem") {
		t.Errorf("Open with a CA that does not exist = %v, want its path", err)
	}
}

// Stores with different prefixes in one Consul do not see each other, not even
// if one prefix begins like the other.
func TestPrefixesApart(t *testing.T) {
	a := config(t, shared.Addr)
	b := a
	b.Prefix += "2"
	one, two := open(t, a), open(t, b)
	txn(t, one, set("x", "1"))
	txn(t, two, set("x", "2"))
	pairs, _, err := one.List(t.Context(), "")
	if err != nil || len(pairs) != 1 || string(pairs[0].Value) != "1" {
		t.Errorf("List = %+v, %v", pairs, err)
	}
}

// A Wait for which nothing happens is one request, whatever is written
// elsewhere, and so is Wait for a prefix without keys while nothing is.
func TestIdleWaitRequests(t *testing.T) {
	t.Parallel()
	var count requests
	cfg := config(t, shared.Addr)
	cfg.OnRequest = count.on
	s := open(t, cfg)
	txn(t, s, set("p/x", "1"))
	_, revision, err := s.List(t.Context(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	other := open(t, by(cfg, shared.Addr))
	go keepWriting(ctx, other, "q/x")
	if _, _, err := s.Wait(ctx, "p/", revision); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v, want to wait until its context ends", err)
	}
	if n := count.of("wait"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// Wait for a prefix without keys, in a datacenter that writes all the time,
// makes about one request in a second.
func TestEmptyWaitRequests(t *testing.T) {
	t.Parallel()
	var count requests
	cfg := config(t, shared.Addr)
	cfg.OnRequest = count.on
	s := open(t, cfg)
	_, revision, err := s.List(t.Context(), "none/")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	other := open(t, by(cfg, shared.Addr))
	go keepWriting(ctx, other, "q/x")
	if _, _, err := s.Wait(ctx, "none/", revision); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v, want to wait until its context ends", err)
	}
	if n := count.of("wait"); n < 3 || n > 12 {
		t.Errorf("%d requests within 6 s, want about 10", n)
	}
}

// However fast a prefix changes and however its Waits are chained, they make at
// most 20 requests in a second.
func TestBusyWaitRequests(t *testing.T) {
	t.Parallel()
	var count requests
	cfg := config(t, shared.Addr)
	cfg.OnRequest = count.on
	s := open(t, cfg)
	other := open(t, by(cfg, shared.Addr))
	txn(t, other, set("p/x", "0"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	go keepWriting(ctx, other, "p/x")
	_, revision, err := s.List(ctx, "p/")
	for err == nil {
		_, revision, err = s.Wait(ctx, "p/", revision)
	}
	if n := count.of("wait"); n < 10 || n > 61 {
		t.Errorf("%d requests within 3 s, want 60 at most", n)
	}
}

// Hold costs a renewal every third of the lease, and one look at the key in a
// whole one.
func TestHoldRequests(t *testing.T) {
	t.Parallel()
	var count requests
	cfg := config(t, shared.Addr)
	cfg.OnRequest = count.on
	s := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
	defer cancel()
	if err := s.Hold(ctx, "requests", "h", nil, 10*time.Second, nil); err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]int{
		"wait": 1, "register": 1, "lease": 1, "txn": 1, "renew": 3, "get": 1, "destroy": 1, "list": 0,
	} {
		if n := count.of(request); n != want {
			t.Errorf("%d requests %s, want %d", n, request, want)
		}
	}
}

// BenchmarkTxn measures one Set.
func BenchmarkTxn(b *testing.B) {
	s := open(b, config(b, shared.Addr))
	took := make([]time.Duration, 0, b.N)
	value := make([]byte, 100)
	for i := 0; b.Loop(); i++ {
		copy(value, fmt.Sprint(i))
		start := time.Now()
		txn(b, s, kvstore.Op{Kind: kvstore.Set, Key: fmt.Sprintf("k/%d", i%500), Value: value})
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

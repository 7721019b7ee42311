package consul_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
	"github.com/weft-net/weft/test/policy"
)

// A host's token, with the documented policy, writes the host's own records and what
// all hosts share, and holds the host's lease. It changes nothing of another host's,
// and that one's lease is not to be had with it.
func TestATokenForEachHost(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	srv := withACLs(t)
	as := func(name, rules string) *consul.Store {
		t.Helper()
		t.Setenv("CONSUL_HTTP_TOKEN", token(t, srv.Addr, name, rules))
		cfg := config(t, srv.Addr)
		cfg.Prefix = "weft"
		return open(t, cfg)
	}
	h1, h2 := as("h1", policy.Host(t, "h1")), as("h2", policy.Host(t, "h2"))
	reaper := as("h3", policy.Host(t, "h3")+policy.Reaper(t))

	own := []string{"host/h1/doc", "host/h1/live", "host/h1/owner", "host/h1/dead", "host/h1/back", "at/h1/blue", "probe/h1", "doctor/h1"}
	shared := []string{"host/.heard/h1", "net/blue", "name/blue", "vni/70000", "net/.epoch", "pool/10.1.0.0_24", "pool/.seq", "addr/10.1.0.0_24/10.1.0.5", "meta"}
	forms := policy.Documented(t, "h1")
	for _, key := range append(own, shared...) {
		documented := false
		for _, form := range forms {
			documented = documented || form.MatchString(key)
		}
		if !documented {
			t.Errorf("%s is not in the table of keys", key)
		}
		p := txn(t, h1, kvstore.Op{Kind: kvstore.Check, Key: key}, set(key, "1"))
		if _, err := h2.Get(t.Context(), key); err != nil {
			t.Errorf("h2 reads %s with %v", key, err)
		}
		if _, err := h2.Txn(t.Context(), kvstore.Op{Kind: kvstore.Check, Key: key, Revision: p[0].Revision}); err != nil {
			t.Errorf("h2 looks at %s in a transaction with %v", key, err)
		}
	}
	for _, key := range shared {
		txn(t, h2, set(key, "2"))
	}
	// h10 begins as h1 does.
	for _, key := range append(own, "host/h10/doc", "at/h10/blue", "probe/h10", "host/h1/other", "other", "host/other") {
		for what, op := range map[string]kvstore.Op{
			"set":    set(key, "2"),
			"make":   {Kind: kvstore.CAS, Key: key + "-new"},
			"delete": {Kind: kvstore.Delete, Key: key},
		} {
			if _, err := h2.Txn(t.Context(), op); !errors.Is(err, kvstore.ErrDenied) {
				t.Errorf("h2 may %s %s: %v", what, key, err)
			}
		}
		if _, err := h2.Txn(t.Context(), set("net/blue", "3"), set(key, "3")); !errors.Is(err, kvstore.ErrDenied) {
			t.Errorf("h2 may write %s beside what is shared: %v", key, err)
		}
	}
	if _, err := h1.Txn(t.Context(), set("host/h10/doc", "2")); !errors.Is(err, kvstore.ErrDenied) {
		t.Errorf("h1 may write what is h10's: %v", err)
	}
	for what, lease := range map[string][2]string{
		"h1's lease as h1": {"h1", "host/h1/live"}, "h1's lease as h2": {"h2", "host/h1/live"}, "a lease of its own as h1": {"h1", "host/h2/live"},
	} {
		if err := h2.Hold(t.Context(), lease[0], lease[1], nil, time.Second, nil); !errors.Is(err, kvstore.ErrDenied) {
			t.Errorf("h2 may hold %s: %v", what, err)
		}
	}
	for key, name := range map[string]string{"host/h2/live": "h2", "host/.heard/h1": "h2"} {
		ctx, cancel := context.WithCancel(t.Context())
		held, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- h2.Hold(ctx, name, key, nil, time.Second, func() { close(held) }) }()
		receive(t, key, held, limit)
		cancel()
		if err := receive(t, key, done, limit); err != nil {
			t.Errorf("hold %s: %v", key, err)
		}
	}

	txn(t, reaper, kvstore.Op{Kind: kvstore.Delete, Key: "host/h1/live"}, kvstore.Op{Kind: kvstore.CAS, Key: "host/h2/dead"},
		kvstore.Op{Kind: kvstore.Check, Key: "host/h9/live"}, kvstore.Op{Kind: kvstore.Delete, Key: "at/h1/blue"}, set("host/h1/doc", "4"))
	if _, err := reaper.Txn(t.Context(), set("probe/h1", "4")); !errors.Is(err, kvstore.ErrDenied) {
		t.Errorf("who reaps may write more: %v", err)
	}
}

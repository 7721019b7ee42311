package consul_test

import (
	"errors"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

func TestExamineASoundConsul(t *testing.T) {
	srv := consultest.Start(t)
	cfg := config(t, srv.Addr)
	cfg.Addresses = append(cfg.Addresses, "127.0.0.1:1")
	s := open(t, cfg)
	h, err := s.Examine(t.Context(), "doctor/h1")
	if err != nil || !h.Answers() || h.ReadErr != nil || h.WriteErr != nil || h.Filtered {
		t.Fatalf("%+v, %v", h, err)
	}
	up, down := h.Servers[0], h.Servers[1]
	if up.Err != nil || up.Leader == "" || up.Within == 0 || up.Ahead.Abs() > up.Within+time.Second {
		t.Errorf("the server that is there: %+v", up)
	}
	if !errors.Is(down.Err, kvstore.ErrUnavailable) || down.Address != "127.0.0.1:1" {
		t.Errorf("the server that is not there: %+v", down)
	}
	if pairs, _, err := s.List(t.Context(), ""); err != nil || len(pairs) != 0 {
		t.Errorf("an examination leaves %v, %v", pairs, err)
	}
}

func TestExamineWithTooFewRights(t *testing.T) {
	srv := consultest.Start(t, map[string]any{
		"primary_datacenter": "dc1",
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny", "tokens": map[string]any{"initial_management": rootToken},
		},
	})
	cfg := config(t, srv.Addr)
	cfg.Prefix = "weft"
	for name, c := range map[string]struct {
		rules                 string
		reads, writes, filter bool
	}{
		"all":       {`key_prefix "weft/" { policy = "write" }`, true, true, false},
		"read only": {`key_prefix "weft/" { policy = "read" }`, true, false, false},
		"partly":    {`key_prefix "weft/" { policy = "write" } key_prefix "weft/host/" { policy = "deny" }`, true, true, true},
		"nothing":   {`key_prefix "other/" { policy = "write" }`, false, false, false},
	} {
		t.Setenv("CONSUL_HTTP_TOKEN", rootToken)
		root := open(t, cfg)
		if name == "partly" { // of nothing, nothing is left out
			if _, err := root.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "host/h1", Value: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("CONSUL_HTTP_TOKEN", token(t, srv.Addr, "examine-"+name[:3], c.rules))
		h, err := open(t, cfg).Examine(t.Context(), "doctor/h1")
		if err != nil || !h.Answers() {
			t.Fatalf("%s: %+v, %v", name, h, err)
		}
		if (h.ReadErr == nil) != c.reads || (h.WriteErr == nil) != c.writes || h.Filtered != c.filter {
			t.Errorf("%s: %+v", name, h)
		}
		if h.WriteErr != nil && !errors.Is(h.WriteErr, kvstore.ErrDenied) {
			t.Errorf("%s: %v", name, h.WriteErr)
		}
	}
}

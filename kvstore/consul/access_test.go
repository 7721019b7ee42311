package consul_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

const rootToken = "00000000-0000-4000-8000-000000000001"

// aclRequest makes one request of Consul's ACL API as root.
func aclRequest(t *testing.T, addr, path string, body any) map[string]any {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	eventually(t, path, 10*time.Second, func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+addr+path, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Consul-Token", rootToken)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && json.Unmarshal(answer, &out) == nil
	})
	return out
}

// token makes a token with rules.
func token(t *testing.T, addr, name, rules string) string {
	t.Helper()
	aclRequest(t, addr, "/v1/acl/policy", map[string]any{"Name": name, "Rules": rules})
	answer := aclRequest(t, addr, "/v1/acl/token", map[string]any{"Policies": []any{map[string]any{"Name": name}}})
	return answer["SecretID"].(string)
}

// withACLs runs a server that denies by default.
func withACLs(t *testing.T) *consultest.Server {
	t.Helper()
	return consultest.Start(t, map[string]any{
		"primary_datacenter": "dc1",
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny", "tokens": map[string]any{"initial_management": rootToken},
		},
	})
}

// With ACLs that deny by default, the policy in the package's comment is
// enough, and less is ErrDenied, not an empty world.
func TestACL(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	srv := withACLs(t)
	cfg := config(t, srv.Addr)
	cfg.Prefix = "weft"

	t.Setenv("CONSUL_HTTP_TOKEN", token(t, srv.Addr, "minimal", `
		key_prefix     "weft/" { policy = "write" }
		session_prefix "weft-" { policy = "write" }
		node_prefix    "weft-" { policy = "write" }`))
	s := open(t, cfg)
	if pairs, _, err := s.List(t.Context(), ""); err != nil || len(pairs) != 0 {
		t.Errorf("List of nothing = %v, %v", pairs, err)
	}
	txn(t, s, set("p/x", "1"), kvstore.Op{Kind: kvstore.Check, Key: "p/none"})
	txn(t, s, kvstore.Op{Kind: kvstore.Delete, Key: "p/none"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Hold(ctx, "h1", "h/h1", nil, time.Second, func() { close(held) }) }()
	receive(t, "held", held, limit)
	pairs, revision, err := s.List(t.Context(), "")
	if err != nil || len(pairs) != 2 || !pairs[0].Held {
		t.Errorf("List = %+v, %v", pairs, err)
	}
	if _, _, err := s.Wait(t.Context(), "", revision-1); err != nil {
		t.Errorf("Wait = %v", err)
	}
	time.Sleep(4 * time.Second) // a renewal
	cancel()
	if err := receive(t, "Hold", done, limit); err != nil {
		t.Errorf("Hold = %v", err)
	}

	for what, secret := range map[string]string{
		"no token":               "",
		"an unknown token":       "00000000-0000-4000-8000-00000000dead",
		"a token without rights": token(t, srv.Addr, "none", ``),
		"a token for others":     token(t, srv.Addr, "others", `key_prefix "other/" { policy = "write" }`),
	} {
		t.Run(what, func(t *testing.T) {
			t.Setenv("CONSUL_HTTP_TOKEN", secret)
			s := open(t, cfg)
			_, err := s.Get(t.Context(), "p/x")
			_, _, lerr := s.List(t.Context(), "p/")
			_, _, werr := s.Wait(t.Context(), "p/", 1)
			_, terr := s.Txn(t.Context(), set("p/x", "2"))
			_, cerr := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.CAS, Key: "p/new"})
			herr := s.Hold(t.Context(), "h1", "h/h1", nil, 0, nil)
			for call, err := range map[string]error{"Get": err, "List": lerr, "Wait": werr, "Set": terr, "CAS": cerr, "Hold": herr} {
				if !errors.Is(err, kvstore.ErrDenied) || !strings.Contains(fmt.Sprint(err), "CONSUL_HTTP_TOKEN") {
					t.Errorf("%s = %v, want ErrDenied", call, err)
				}
			}
		})
	}
	if p, err := s.Get(t.Context(), "p/x"); err != nil || string(p.Value) != "1" {
		t.Errorf("afterwards: %+v, %v", p, err)
	}
}

// TLS is set up by Consul's own variables; all requests, waits too, then share
// one HTTP/2 connection.
func TestTLS(t *testing.T) {
	backend, err := url.Parse("http://" + shared.Addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	var old atomic.Int64
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(backend) },
		Transport: transport,
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			old.Add(1)
		}
		forward.ServeHTTP(w, r)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONSUL_HTTP_SSL", "true")
	_, _, err = open(t, config(t, srv.Listener.Addr().String())).List(t.Context(), "")
	wantUnavailable(t, "List of a server with an unknown certificate", err)

	t.Setenv("CONSUL_CACERT", ca)
	s := open(t, config(t, srv.Listener.Addr().String()))
	txn(t, s, set("p/x", "1"))
	_, revision, err := s.List(t.Context(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	c := wait(t.Context(), s, "p/", revision)
	time.Sleep(100 * time.Millisecond)
	txn(t, s, set("p/x", "2"))
	if w := receive(t, "Wait", c, limit); w.err != nil || string(w.pairs[0].Value) != "2" {
		t.Errorf("Wait = %+v", w)
	}
	if n := old.Load(); n != 0 {
		t.Errorf("%d requests by HTTP/1", n)
	}
}

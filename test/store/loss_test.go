package store

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// A wiped store is filled again by the hosts.
func TestWiped(t *testing.T) {
	s := newScene(t)
	wipe(t)
	leader(t)
	for host := range s.ips {
		s.published(host, s.box(host))
	}
	s.claims()
	s.claimsAgain("h2")
	s.survived()
}

// wipe takes all data from the servers.
func wipe(t *testing.T) {
	t.Helper()
	for _, c := range cluster.Consuls() {
		must(t, c.Wipe(t.Context()))
	}
	started := make(chan error, 3)
	for _, c := range cluster.Consuls() {
		go func() { started <- c.Start(t.Context()) }()
	}
	for range cluster.Consuls() {
		must(t, <-started)
	}
}

// Another cluster of servers at the old one's addresses that has got its data, but
// for what was written last, is as good.
func TestReplaced(t *testing.T) {
	s := newScene(t)
	snapshot, err := consul(t, leader(t), http.MethodGet, "/v1/snapshot", nil)
	must(t, err)
	s.start("h1", s.n+"-since")
	s.published("h1", s.n+"-since")
	wipe(t)
	_, err = consul(t, leader(t), http.MethodPut, "/v1/snapshot", snapshot)
	must(t, err)
	s.published("h1", s.n+"-since")
	s.claims()
	s.claimsAgain("h3")
	s.survived()
}

// A snapshot takes back neither what was made since nor what was removed.
func TestRestored(t *testing.T) {
	s := newScene(t)
	docker(t, "h1", "network", "create", "-d", "weft", "--ipam-driver", "weft", s.n+"-old")
	snapshot, err := consul(t, leader(t), http.MethodGet, "/v1/snapshot", nil)
	must(t, err)
	docker(t, "h1", "network", "rm", s.n+"-old")
	docker(t, "h2", "network", "create", "-d", "weft", "--ipam-driver", "weft", s.n+"-new")
	s.start("h1", s.n+"-since")
	s.published("h1", s.n+"-since")
	_, err = consul(t, leader(t), http.MethodPut, "/v1/snapshot", snapshot)
	must(t, err)
	s.published("h1", s.n+"-since")
	s.claims()
	for _, h := range cluster.Hosts() {
		eventually(t, 10*time.Second, h.Name()+" has the new network and not the old one", func() error {
			got := " " + strings.ReplaceAll(docker(t, h.Name(), "network", "ls", "--filter", "driver=weft", "--format", "{{.Name}}"), "\n", " ") + " "
			if strings.Contains(got, " "+s.n+"-old ") || !strings.Contains(got, " "+s.n+"-new ") {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
	}
	docker(t, "h2", "network", "rm", s.n+"-new")
	eventually(t, 10*time.Second, "it is gone from h1", func() error {
		if _, err := cluster.Host("h1").Docker(t.Context(), "network", "inspect", s.n+"-new"); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
	s.survived()
}

// claims waits until the store has the address of each container as its host's.
func (s *scene) claims() {
	s.t.Helper()
	eventually(s.t, 5*time.Second, "the store has every claim", func() error {
		out, err := request(s.t, http.MethodGet, s.store()+"/v1/kv/weft/addr/?recurse", nil)
		if err != nil {
			return err
		}
		var pairs []struct {
			Key   string
			Value []byte
		}
		if err := json.Unmarshal(out, &pairs); err != nil {
			return err
		}
		for host, ip := range s.ips {
			found := false
			for _, p := range pairs {
				found = found || strings.HasSuffix(p.Key, "/"+ip) && strings.Contains(string(p.Value), `"`+host+`"`)
			}
			if !found {
				return fmt.Errorf("it lacks %s of %s", ip, host)
			}
		}
		return nil
	})
}

// claimsAgain makes a network once that is not refused any more: until all hosts
// have recorded again what they have, it is.
func (s *scene) claimsAgain(host string) {
	s.t.Helper()
	eventually(s.t, 30*time.Second, host+" makes a network", func() error {
		_, err := cluster.Host(host).Docker(s.t.Context(), "network", "create", "-d", "weft", "--ipam-driver", "weft", s.n+"-new")
		return err
	})
	docker(s.t, host, "network", "rm", s.n+"-new")
}

// A host whose token is revoked says so, and goes on with what it has; with a new
// token and a restart all is well.
func TestTokenRevoked(t *testing.T) {
	s := newScene(t)
	_, err := consul(t, leader(t), http.MethodPut, "/v1/acl/policy", []byte(`{"Name": "weft", "Rules": "key_prefix \"weft/\" { policy = \"write\" } session_prefix \"weft-\" { policy = \"write\" } node_prefix \"weft-\" { policy = \"write\" }"}`))
	must(t, err)
	out, err := consul(t, leader(t), http.MethodPut, "/v1/acl/token", []byte(`{"Policies": [{"Name": "weft"}]}`))
	must(t, err)
	var token struct{ AccessorID, SecretID string }
	must(t, json.Unmarshal(out, &token))
	restart := func(secret string) {
		t.Helper()
		setToken(secret)
		must(t, cluster.Host("h1").Stop(t.Context(), lab.Weft))
		must(t, cluster.Host("h1").Start(t.Context(), lab.Weft))
		eventually(t, 10*time.Second, "the store answers h1", func() error {
			if st := weft(t, "h1"); !st.Store.Reachable {
				return fmt.Errorf("%q", st.Problems)
			}
			return nil
		})
	}
	defer setToken(root)
	restart(token.SecretID)
	time.Sleep(time.Second)
	_, err = consul(t, leader(t), http.MethodDelete, "/v1/acl/token/"+token.AccessorID, nil)
	must(t, err)
	s.start("h1", s.n+"-stock")
	eventually(t, 60*time.Second, "h1 says what is wrong", func() error {
		st := weft(t, "h1")
		if text := strings.Join(st.Problems, " "); !strings.Contains(text, "CONSUL_HTTP_TOKEN") {
			return fmt.Errorf("%q", text)
		}
		return nil
	})
	s.names()
	restart(root)
	s.published("h1", s.n+"-stock")
	s.survived()
}

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
	"github.com/weft-net/weft/test/policy"
)

// newToken makes a token with rules.
func newToken(t *testing.T, name, rules string) string {
	t.Helper()
	create := func(path string, body map[string]any) map[string]any {
		t.Helper()
		b, err := json.Marshal(body)
		must(t, err)
		out, err := consul(t, leader(t), http.MethodPut, path, b)
		must(t, err)
		var answer map[string]any
		must(t, json.Unmarshal(out, &answer))
		return answer
	}
	made := create("/v1/acl/policy", map[string]any{"Name": name, "Rules": rules})
	return create("/v1/acl/token", map[string]any{"Policies": []any{map[string]any{"ID": made["ID"]}}})["SecretID"].(string)
}

// restartAs gives the host's weft another token.
func restartAs(t *testing.T, host, secret string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	setToken(secret)
	must(t, cluster.Host(host).Stop(ctx, lab.Weft))
	must(t, cluster.Host(host).Start(ctx, lab.Weft))
	eventually(t, 20*time.Second, "the store answers "+host, func() error {
		if st := weft(t, host); !st.Store.Reachable {
			return fmt.Errorf("%q", st.Problems)
		}
		return nil
	})
}

// With a token for each host, as the documentation has it, everything works: a
// network from any host, names, removal, forgetting a host where that is allowed,
// leaving. No host needs a right that it lacks, and no token writes what is another
// host's.
func TestATokenForEachHost(t *testing.T) {
	tokens := map[string]string{}
	for _, h := range cluster.Hosts() {
		rules := policy.Host(t, h.Name())
		if h.Name() == "h1" {
			rules += policy.Reaper(t)
		}
		tokens[h.Name()] = newToken(t, "host-"+h.Name(), rules)
		restartAs(t, h.Name(), tokens[h.Name()])
	}
	t.Cleanup(func() {
		for _, h := range cluster.Hosts() {
			restartAs(t, h.Name(), root)
		}
	})
	const denied = "Permission denied"
	before := logged(t, denied)

	s := newScene(t)
	other := s.n + "-other"
	docker(t, "h2", "network", "create", "-d", "weft", "--ipam-driver", "weft", "--subnet", "10.77.0.0/24", other)
	labtest.Mirrored(t, 10*time.Second, other, cluster.Host("h3"))
	docker(t, "h3", "run", "--rm", "--network", other, "--ip", "10.77.0.9", "busybox", "true")
	kept := labtest.Stock(t, cluster.Host("h3"), other, "h2")[0]
	docker(t, "h3", "run", "--rm", "--network", other, "--ip", kept.String(), "busybox", "true")
	owned(t, tokens["h2"], "h1")
	docker(t, "h3", "network", "rm", other)
	labtest.Gone(t, 10*time.Second, other, cluster.Hosts()...)
	s.survived()

	h3 := cluster.Host("h3")
	docker(t, "h3", "rm", "-f", s.box("h3"))
	must(t, h3.Stop(t.Context(), lab.Weft))
	var refusal error
	eventually(t, 60*time.Second, "h2 may not forget h3", func() error {
		_, refusal = cluster.Host("h2").Run(t.Context(), "weft", "host", "forget", "h3")
		if refusal == nil || !strings.Contains(refusal.Error(), "on a host whose token may") {
			return fmt.Errorf("h2: %w", refusal)
		}
		return nil
	})
	t.Logf("h2: %v", refusal)
	eventually(t, 60*time.Second, "h1 forgets h3", func() error {
		_, err := cluster.Host("h1").Run(t.Context(), "weft", "host", "forget", "h3")
		return err
	})
	restartAs(t, "h3", tokens["h3"])
	live := func() error {
		out, err := cluster.Host("h1").Run(t.Context(), "weft", "host", "ls")
		if err == nil && !regexp.MustCompile(`(?m)^h3 .* live `).MatchString(out) {
			err = fmt.Errorf("%s", out)
		}
		return err
	}
	eventually(t, 30*time.Second, "h3 is back", live)
	s.start("h3", s.box("h3"))
	s.names()

	docker(t, "h3", "rm", "-f", s.box("h3"))
	_, err := h3.Run(t.Context(), "weft", "leave")
	must(t, err)
	eventually(t, 10*time.Second, "h3 has left", func() error {
		if live() == nil {
			return fmt.Errorf("h1 lists it")
		}
		return nil
	})
	restartAs(t, "h3", tokens["h3"])
	eventually(t, 30*time.Second, "h3 is back", live)
	s.start("h3", s.box("h3"))
	s.names()
	if n := logged(t, denied) - before; n > 0 {
		t.Errorf("%d lines of the logs tell of a right that lacks", n)
	}
}

// owned tries to write and to delete everything that is the other host's with a token
// that is not, and says whether all that is in the store is documented.
func owned(t *testing.T, secret, other string) {
	t.Helper()
	server := cluster.Consul(leader(t)).URL()
	out, err := request(t, http.MethodGet, server+"/v1/kv/weft/?keys", nil)
	must(t, err)
	var keys []string
	must(t, json.Unmarshal(out, &keys))
	rules, forms := policy.Host(t, "h2"), policy.Documented(t, other)
	for _, h := range cluster.Hosts() {
		forms = append(forms, policy.Documented(t, h.Name())...)
	}
	kinds := map[string]bool{}
	for _, key := range keys {
		key = strings.TrimPrefix(key, "weft/")
		documented := false
		for _, form := range forms {
			documented = documented || form.MatchString(key)
		}
		if !documented {
			t.Errorf("the documentation's table of keys lacks %s", key)
		}
		if policy.Writes(rules, key) {
			continue
		}
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			if err := attempt(t, secret, method, server+"/v1/kv/weft/"+key, "x"); err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("h2's token may %s %s: %v", method, key, err)
			}
		}
		if leaf, ours := strings.CutPrefix(key, "host/"+other+"/"); ours {
			kinds[leaf] = true
		}
		kinds["at"] = kinds["at"] || strings.HasPrefix(key, "at/"+other+"/")
	}
	for _, kind := range []string{"doc", "live", "owner", "at"} {
		if !kinds[kind] {
			t.Errorf("the store has no %s of %s that could be tried: %v", kind, other, kinds)
		}
	}
	node := `{"Node": "weft-` + other + `", "Address": "192.0.2.9"}`
	for path, body := range map[string]string{"/v1/catalog/register": node, "/v1/session/create": `{"Node": "weft-` + other + `", "NodeChecks": []}`} {
		if err := attempt(t, secret, http.MethodPut, server+path, body); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("h2's token may %s for %s: %v", path, other, err)
		}
	}
}

// attempt makes a request with a token.
func attempt(t *testing.T, secret, method, url, body string) error {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	r.Header.Set("X-Consul-Token", secret)
	_, err = cluster.Consul(1).Do(r)
	return err
}

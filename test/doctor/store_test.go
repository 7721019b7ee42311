package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// storeFaults are those of a Consul that the lab does not have, with ACLs. The
// command asks it, as it does where no daemon runs.
var storeFaults = []fault{
	{
		check: "store-write", how: "a real Consul's token may read only", says: []string{"Permission denied", "key_prefix"},
		breaks: asked(`key_prefix "weft/" { policy = "read" }`, nil), ask: askRestricted,
	},
	{
		check: "store-acl", how: "a real Consul's token may not read all records", says: []string{"leaves out"},
		breaks: asked(`key_prefix "weft/" { policy = "write" } key_prefix "weft/host/" { policy = "deny" }`, nil), ask: askRestricted,
	},
	{
		check: "clock", how: "a proxy before a real Consul sets its Date an hour back", says: []string{"1h0m", "behind"},
		breaks: asked(`key_prefix "weft/" { policy = "write" }`, func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			return nil
		}),
		ask: askRestricted,
	},
}

// restricted is a Consul that denies by default; nil until it is needed.
var restricted *consultest.Server

// restrictedAt is how weft doctor reaches it, with which token.
var restrictedAt, restrictedToken string

const rootToken = "00000000-0000-4000-8000-000000000001"

// asked breaks by a token with these rules only and, if change is not nil, a
// proxy that changes the answers.
func asked(rules string, change func(*http.Response) error) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		if restricted == nil {
			dir := filepath.Join(scratch, "consul")
			err := os.Mkdir(dir, 0o700)
			if err == nil {
				restricted, err = consultest.New(dir, map[string]any{
					"primary_datacenter": "dc1",
					"acl": map[string]any{
						"enabled": true, "default_policy": "deny", "tokens": map[string]any{"initial_management": rootToken},
					},
				})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		request(t, "/v1/kv/weft/host/h1", "{}")
		answer := request(t, "/v1/acl/policy", map[string]any{"Name": fmt.Sprintf("p%d", time.Now().UnixNano()), "Rules": rules})
		answer = request(t, "/v1/acl/token", map[string]any{"Policies": []any{map[string]any{"Name": answer["Name"]}}})
		restrictedToken, restrictedAt = answer["SecretID"].(string), restricted.Addr
		if change == nil {
			return func() {}
		}
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: restricted.Addr})
		proxy.ModifyResponse = change
		srv := httptest.NewServer(proxy)
		restrictedAt = srv.Listener.Addr().String()
		return srv.Close
	}
}

// request makes one request of the restricted Consul as root.
func request(t *testing.T, path string, body any) map[string]any {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	eventually(t, 10*time.Second, path, func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+restricted.Addr+path, bytes.NewReader(b))
		if err != nil {
			return err
		}
		r.Header.Set("X-Consul-Token", rootToken)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%w: %s", err, answer)
		}
		_ = json.Unmarshal(answer, &out) // a key's answer is no object
		return nil
	})
	return out
}

func askRestricted(t *testing.T) (control.Diagnosis, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "doctor", "--json", "--only", "store,store-write,store-acl,clock",
		"--control", "unix://"+filepath.Join(scratch, "nobody.sock"), "--store", "consul://"+restrictedAt)
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_TOKEN="+restrictedToken)
	return decode(t, cmd)
}

package consultest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// Three servers are one Consul, also after all of them were killed.
func TestCluster(t *testing.T) {
	servers, err := consultest.NewCluster(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range servers {
			s.Stop()
		}
	})
	defer http.DefaultClient.CloseIdleConnections()
	ask(t, http.MethodPut, servers[0].Addr, "1")
	for _, s := range servers { // before one is killed: the last one alone has no leader
		ask(t, http.MethodGet, s.Addr, "")
		if s.PID() == 0 {
			t.Errorf("the server at %s has no process", s.Addr)
		}
	}
	for _, s := range servers {
		s.Kill()
		if pid := s.PID(); pid != 0 {
			t.Errorf("the server at %s has process %d after its end", s.Addr, pid)
		}
	}
	if err := consultest.RestartAll(servers); err != nil {
		t.Fatal(err)
	}
	ask(t, http.MethodGet, servers[2].Addr, "")
}

// ask makes a request for one key until it is answered with 200.
func ask(t *testing.T, method, server, body string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+server+"/v1/kv/test", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s at %s: %v, %v", method, server, resp, err)
		}
	}
}

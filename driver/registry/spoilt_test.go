package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"

	"github.com/weft-net/weft/driver/registry/spoilt"
	"github.com/weft-net/weft/kvstore/consul"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"

	"github.com/sirupsen/logrus/hooks/test"
)

// The same as in driver/registry/spoilt with a real Consul, which takes keys that no
// store of weft's takes.
func TestHostsGoOnWithASpoiltConsul(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			server := consultest.Start(t)
			log, _ := test.NewNullLogger()
			store, err := consul.Open(consul.Config{Addresses: []string{server.Addr}, Prefix: "weft", NodeAddress: "192.0.2.1", Log: log})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test that can be repeated
			c := spoilt.New(rnd)
			c.Spoil(rnd, 30)
			for key, value := range c.Pairs {
				at := url.URL{Scheme: "http", Host: server.Addr, Path: "/v1/kv/weft/" + key}
				req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, at.String(), bytes.NewBufferString(value))
				if err != nil {
					t.Fatal(err)
				}
				answer, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					t.Logf("Consul itself does not take %q: %s", key, answer.Status)
				}
			}
			http.DefaultClient.CloseIdleConnections()
			c.Check(t, store)
		})
	}
}

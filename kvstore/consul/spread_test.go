package consul_test

import (
	"fmt"
	"testing"

	"github.com/weft-net/weft/kvstore/consul"
)

// The hosts of a cluster use all servers. Those of one that fails go to different
// others and stay there: when it is back, nobody runs to it.
func TestHostsUseAllServers(t *testing.T) {
	t.Parallel()
	const hosts = 120 // so that chance leaves no server out
	var proxies []*proxy
	var addresses []string
	for range 3 {
		p := newProxy(t, shared.Addr)
		proxies, addresses = append(proxies, p), append(addresses, p.Listener.Addr().String())
	}
	var stores []*consul.Store
	for i := range hosts {
		cfg := config(t, addresses...)
		cfg.Host = fmt.Sprintf("h%d", i)
		stores = append(stores, open(t, cfg))
	}
	// asked has each host read once, and counts what each server is asked.
	asked := func() (n [3]int64) {
		t.Helper()
		for i, p := range proxies {
			n[i] = -p.asked.Load()
		}
		for i, s := range stores {
			if _, err := s.Txn(t.Context(), set("p/x", "1")); err != nil {
				t.Fatalf("h%d: %v", i, err)
			}
		}
		for i, p := range proxies {
			n[i] += p.asked.Load()
		}
		return n
	}
	first := asked()
	for i, n := range first {
		if n == 0 || n == hosts {
			t.Fatalf("server %d is asked %d times by %d hosts: %v", i, n, hosts, first)
		}
	}
	proxies[0].set(func(p *proxy) { p.cut = true })
	asked() // they find out
	second := asked()
	if second[0] != 0 || second[1] <= first[1] || second[2] <= first[2] || second[1]+second[2] != hosts {
		t.Errorf("without the first server the servers are asked %v, before %v", second, first)
	}
	proxies[0].set(func(p *proxy) { p.cut = false })
	if third := asked(); third != second {
		t.Errorf("when the first server is back the servers are asked %v, before %v", third, second)
	}
	t.Logf("asked: %v, then %v", first, second)
}

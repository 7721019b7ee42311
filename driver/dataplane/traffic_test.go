package dataplane_test

import "testing"

func TestFirstPacketArrives(t *testing.T) {
	hosts := newHosts(t, 3)
	c := spread(t, hosts, true)
	for _, target := range []string{"10.9.0.2", "fd00:9::2", "10.9.0.3", "fd00:9::3"} {
		if !c[0].pings(ip(target)) {
			t.Errorf("no answer from %s", target)
			t.Log(hosts[0].inside("net1", "bridge", "-d", "fdb"))
			t.Log(hosts[0].inside("net1", "ip", "neigh"))
			t.Log(hosts[0].inside("net1", "ip", "-d", "link"))
		}
	}
	for _, h := range hosts {
		if r := h.verify(); r.Repairs != 0 {
			t.Errorf("host %d: repaired what was right: %q", h.n, r.Repaired)
		}
	}
}

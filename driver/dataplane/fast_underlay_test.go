package dataplane_test

import (
	"strings"
	"testing"
	"time"
)

// Whatever becomes of the underlay's interface, what was reached is reached again once
// weft has looked, and by the fast path.
func TestTheFastPathFollowsTheUnderlay(t *testing.T) {
	needFast(t)
	hosts, near, _, far := pair(t)
	far.echo(t)
	h, to := hosts[0], far.port.Addrs[0].Addr()
	reached := func(when string) {
		t.Helper()
		h.verify()
		before := h.fastState()
		if before.Why.Cause != "" {
			t.Fatalf("%s: %+v", when, before.Why)
		}
		var err error
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			if err = near.talks("tcp", to, 1<<16); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		now := h.fastState()
		if now.Sent == before.Sent || now.Received == before.Received {
			t.Errorf("%s: not by the fast path: from %+v to %+v", when, before, now)
		}
	}
	do := func(args string) { t.Helper(); must(t, h.ns, append([]string{"ip"}, strings.Fields(args)...)...) }
	reached("at first")

	do("link set eth0 down")
	h.verify() // while it is away
	do("link set eth0 up")
	reached("down and up")

	do("link set eth0 down")
	do("link set eth0 name under0")
	do("link set under0 up")
	reached("renamed")
	at := func(want, nothing string) {
		t.Helper()
		if got := programNames(h, want); got != "weft_from_wire" {
			t.Errorf("%s has %q", want, got)
		}
		if got := programNames(h, nothing); nothing != "" && got != "" {
			t.Errorf("%s, which has no address any more, has %q", nothing, got)
		}
	}
	at("under0", "")

	// The address goes over to a bridge, of which the interface becomes a member.
	do("link add br0 type bridge")
	do("link set br0 up")
	do("address del 192.0.2.1/24 dev under0")
	do("link set under0 master br0")
	do("address add 192.0.2.1/24 dev br0")
	reached("moved to a bridge")
	at("br0", "under0")

	do("address del 192.0.2.1/24 dev br0")
	do("link set under0 nomaster")
	do("address add 192.0.2.1/24 dev under0")
	reached("moved back")
	at("under0", "br0")
}

// programNames are those of weft's programs at a link of the host.
func programNames(h *host, link string) string {
	var out []string
	for _, p := range programs(h.ns, "", func(format string, args ...any) {
		if len(args) == 3 && args[1] == link {
			out = append(out, args[2].(string))
		}
	}) {
		p.Close()
	}
	return strings.Join(out, " ")
}

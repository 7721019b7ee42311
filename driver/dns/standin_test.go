package dns

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/weft-net/weft/driver/overlay"
)

// The stand-in has the names that Docker does not know, and follows their changes.
func TestTheStandInHasTheNamesOfOtherHosts(t *testing.T) {
	s := newScene(t)
	s.join("n1", "one", "/sb/one", "192.0.2.1")
	far := func(names ...string) func(o *overlay.Snapshot) {
		return func(o *overlay.Snapshot) {
			o.Peers = map[string][]overlay.Attachment{"n1": {{Network: "n1", Host: "h2"}}}
			for i, name := range names {
				o.Peers["n1"][0].Endpoints = append(o.Peers["n1"][0].Endpoints, overlay.PeerEndpoint{
					ID: fmt.Sprint("p", i), Names: []string{name, "one"}, Addrs: addrs("192.0.2.9"),
				})
			}
		}
	}
	s.change(far("db"))
	s.start()
	one := s.box("/sb/one")
	has := func(want ...string) {
		t.Helper()
		s.eventually(fmt.Sprint("the stand-in has ", want), func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			var got []string
			for _, n := range one.standIn {
				name, _, err := dns.UnpackDomainName(n, 0)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, name)
			}
			return fmt.Sprint(got) == fmt.Sprint(want)
		})
	}
	has("9.2.0.192.in-addr.arpa.", "db.", "db.net1.")
	s.change(far("web"))
	has("9.2.0.192.in-addr.arpa.", "web.", "web.net1.")
	s.change(far())
	has()
}

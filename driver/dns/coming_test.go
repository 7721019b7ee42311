package dns

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/weft-net/weft/driver/overlay"
)

// The names of a container whose link is not up yet are told neither by weft nor by
// Docker, which knows them earlier.
func TestNamesOfAContainerOnItsWayAreNotTold(t *testing.T) {
	for name, c := range map[string]struct {
		says []string
		code int
		want string
	}{
		"alone":                     {[]string{"new. 600 IN A 192.0.2.8"}, dns.RcodeNameError, "none"},
		"with one that has arrived": {[]string{"new. 600 IN A 192.0.2.8", "new. 600 IN A 192.0.2.9"}, dns.RcodeSuccess, "192.0.2.9"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.join("n1", "one", "/sb/one", "192.0.2.1")
			s.join("n1", "new", "/sb/new", "192.0.2.8")
			s.change(func(o *overlay.Snapshot) { o.Local[1].Arriving = true })
			s.dockerSays(0, c.says...)
			s.start()
			one := s.box("/sb/one")
			for _, network := range transports {
				if m := one.ask(network, "new.", dns.TypeA); m.Rcode != c.code || data(m) != c.want {
					t.Errorf("%s: on its way: %v", network, m)
				}
				if m := one.ask(network, "one.", dns.TypeA); data(m) != "192.0.2.1" {
					t.Errorf("%s: another name: %v", network, m)
				}
			}
			s.change(func(o *overlay.Snapshot) {
				o.Local = append([]overlay.Endpoint{}, o.Local...)
				o.Local[1].Arriving = false
			})
			s.eventually("its name is told", func() bool { return data(one.ask("udp4", "new.", dns.TypeA)) == "192.0.2.8" })
		})
	}
}

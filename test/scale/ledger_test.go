package main

import (
	"net/netip"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

func TestAddressesTwice(t *testing.T) {
	a := netip.MustParseAddr("10.1.0.2")
	l := newLedger()
	l.given(a, "one")
	l.returns(a)
	l.given(a, "two")
	if d := l.duplicates(); len(d) > 0 {
		t.Errorf("one after the other: %v", d)
	}
	l.given(a, "three")
	if d := l.duplicates(); len(d) != 1 {
		t.Errorf("two at a time: %v", d)
	}
}

// What a host does not know, or knows wrong, is found.
func TestMissing(t *testing.T) {
	l := newLedger()
	for _, host := range []string{"h1", "h2", "h3"} {
		l.lives(host, true)
	}
	l.runs(endpoint{id: "e2", name: "web", host: "h2", network: "n"}, true)
	l.runs(endpoint{id: "e3", name: "gone", host: "h3", network: "n"}, true)
	l.runs(endpoint{id: "e3", name: "gone", host: "h3", network: "n"}, false)
	l.runs(endpoint{id: "e1", name: "own", host: "h1", network: "n"}, true)
	whole := func() overlay.Snapshot {
		return overlay.Snapshot{
			Self: overlay.Host{Name: "h1"}, Hosts: map[string]overlay.Host{"h2": {}, "h3": {}},
			Networks: map[string]overlay.Network{"n": {}},
			Peers:    map[string][]overlay.Attachment{"n": {{Host: "h2", Endpoints: []overlay.PeerEndpoint{{ID: "e2", Name: "web"}}}, {Host: "h3"}}},
		}
	}
	if missing := l.missing(whole()); missing != "" {
		t.Error(missing)
	}
	for what, change := range map[string]func(*overlay.Snapshot){
		"a host":        func(s *overlay.Snapshot) { delete(s.Hosts, "h3") },
		"a network":     func(s *overlay.Snapshot) { delete(s.Networks, "n") },
		"an attachment": func(s *overlay.Snapshot) { s.Peers["n"] = s.Peers["n"][1:] },
		"an endpoint":   func(s *overlay.Snapshot) { s.Peers["n"][0].Endpoints = nil },
		"a name":        func(s *overlay.Snapshot) { s.Peers["n"][0].Endpoints[0].Name = "" },
		"that a container is gone": func(s *overlay.Snapshot) {
			s.Peers["n"][1].Endpoints = []overlay.PeerEndpoint{{ID: "e3", Name: "gone"}}
		},
	} {
		s := whole()
		change(&s)
		if l.missing(s) == "" {
			t.Errorf("it is not noticed that the host does not know %s", what)
		}
	}
	l.lives("h3", false)
	s := whole()
	delete(s.Hosts, "h3")
	if missing := l.missing(s); missing != "" {
		t.Errorf("of a dead host: %s", missing)
	}
}

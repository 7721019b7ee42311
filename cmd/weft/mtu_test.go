package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
)

func TestASmallHostThatJoinsIsTold(t *testing.T) {
	log, told := test.NewNullLogger()
	m := &mtus{log: log}
	s := small().Snapshot
	m.note(s)
	m.note(s)
	if e := told.AllEntries(); len(e) > 0 {
		t.Fatalf("nothing has changed, and the log says %q", e[0].Message)
	}
	s.Hosts["h3"] = overlay.Host{Name: "h3", VTEP: netip.MustParseAddr("192.0.2.3"), MTU: 1400}
	s.Peers["aaaaaaaaaaaa"] = append(s.Peers["aaaaaaaaaaaa"], overlay.Attachment{Network: "aaaaaaaaaaaa", Host: "h3"})
	m.note(s)
	m.note(s)
	e := told.AllEntries()
	if len(e) != 1 || e[0].Level != logrus.WarnLevel {
		t.Fatalf("told %d times", len(e))
	}
	for _, word := range []string{`"web"`, "from 1450 to 1350", "host h3", "-o com.docker.network.driver.mtu=1450"} {
		if !strings.Contains(e[0].Message, word) {
			t.Errorf("%q lacks %q", e[0].Message, word)
		}
	}
	delete(s.Hosts, "h3")
	m.note(s)
	if e := told.AllEntries(); len(e) != 1 {
		t.Errorf("an MTU that goes up: %q", e[1].Message)
	}
}

package doctor

import (
	"testing"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
)

func TestWhyPacketsDoNotGoDirectly(t *testing.T) {
	for name, c := range map[string]struct {
		direct control.Direct
		want   []string
	}{
		"they do":             {control.Direct{Takes: true, Hosts: []control.DirectHost{{Host: "h2", Direct: []string{"n"}}}}, nil},
		"a person's choice":   {control.Direct{Takes: true, Hosts: []control.DirectHost{{Host: "h2", Tunnel: []string{"n"}, Why: "the network has weft.path=tunnel"}}}, nil},
		"no answer":           {control.Direct{Takes: true, Hosts: []control.DirectHost{{Host: "h2", Tunnel: []string{"n"}, Unanswered: true}}}, []string{"host h1", "host h2", "do not come back", "nothing has to be done"}},
		"not by this host":    {control.Direct{Why: "interface eth0 is wireless", Hosts: []control.DirectHost{{Host: "h2"}}}, []string{"host h1", "wireless"}},
		"there are no others": {control.Direct{Why: "interface eth0 is wireless"}, nil},
	} {
		s := with(overlay.Network{ID: "n", Name: "web"}, true)
		s.Fast.Open, s.Direct = true, c.direct
		found := directFindings("host h1", s)
		says(t, name, found, c.want...)
		for _, f := range found {
			if f.Severity != control.Note {
				t.Errorf("%s is %s, and all works without", name, f.Severity)
			}
		}
	}
}

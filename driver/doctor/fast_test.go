package doctor

import (
	"errors"
	"testing"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
)

func TestWhyAHostHasNoFastPath(t *testing.T) {
	for name, c := range map[string]struct {
		fast     control.FastPath
		severity control.Severity
		want     []string
	}{
		"open":           {control.FastPath{Open: true}, "", nil},
		"nothing to do":  {control.FastPath{Cause: "idle", Why: "no network has a container here"}, "", nil},
		"switched off":   {control.FastPath{Cause: "off", Why: "it is off, see --fast-path"}, control.Note, []string{"host h1", "is off", "--fast-path=auto"}},
		"old kernel":     {control.FastPath{Cause: "kernel", Why: "this kernel is 5.10"}, control.Note, []string{"host h1", "5.10", "Linux 5.13", "CAP_BPF"}},
		"IPsec":          {control.FastPath{Cause: "host", Why: "this host has IPsec policies"}, control.Note, []string{"is closed", "IPsec", "nothing has to be done"}},
		"others":         {control.FastPath{Cause: "others", Why: "somebody else's tc filters look at eth0"}, control.Risk, []string{"is closed", "eth0", "tc filter show", "--fast-path=off"}},
		"a fault":        {control.FastPath{Cause: "fault", Why: "attach program: no space"}, control.Risk, []string{"though it could be open", "no space"}},
		"slow by choice": {control.FastPath{Open: true, Slow: map[string]string{"n": "its containers may send from any address"}}, "", nil},
		"slow by a fault": {
			control.FastPath{Open: true, Slow: map[string]string{"n": "no room in the table"}, Faults: []string{"n"}},
			control.Risk,
			[]string{`network "web"`, "host h1", "no room"},
		},
	} {
		s := with(overlay.Network{ID: "n", Name: "web"}, true)
		s.Fast = c.fast
		found := fastFindings("host h1", s)
		says(t, name, found, c.want...)
		if len(found) == 1 && found[0].Severity != c.severity {
			t.Errorf("%s is %s and not %s", name, found[0].Severity, c.severity)
		}
	}
}

func TestWhoElseSeesThePackets(t *testing.T) {
	says(t, "nobody", hookedFindings("host h1", nil))
	for name, c := range map[string]struct {
		hooked dataplane.Hooked
		want   []string
	}{
		"XDP":         {dataplane.Hooked{Link: "eth0", Hook: "XDP", What: "program shield (id 7)"}, []string{"program shield (id 7)", "XDP", "comes in by eth0 of host h1", "bpftool net show dev eth0"}},
		"tcx":         {dataplane.Hooked{Link: "eth0", Hook: "tcx egress", What: "program count (id 8)"}, []string{"leaves by eth0", "bpftool net show dev eth0"}},
		"a tc filter": {dataplane.Hooked{Link: "eth0", Hook: "tc egress", What: "a filter of kind u32"}, []string{"a filter of kind u32", "leaves by eth0", "tc filter show dev eth0 egress"}},
	} {
		found := hookedFindings("host h1", []dataplane.Hooked{c.hooked})
		says(t, name, found, c.want...)
		if found[0].Severity != control.Note {
			t.Errorf("%s is %s, and may be all right", name, found[0].Severity)
		}
	}
}

// hooked is a kernel in which somebody has a program at each link.
type hooked struct {
	routed
	err error
}

func (h *hooked) HookedAt(link string) ([]dataplane.Hooked, error) {
	return []dataplane.Hooked{{Link: link, Hook: "XDP", What: "program shield (id 7)"}}, h.err
}

// The links that are looked at are those that packets really use.
func TestProgramsAreLookedForWherePacketsAre(t *testing.T) {
	refused := errors.New("not permitted")
	for name, c := range map[string]struct {
		kernel hooked
		links  []string // of the findings, in this order
		err    error
	}{
		"one link":               {hooked{routed: routed{on: dataplane.Interface{Name: "eth0"}, to: "eth0"}}, []string{"link eth0"}, nil},
		"another route":          {hooked{routed: routed{on: dataplane.Interface{Name: "eth0"}, to: "eth1"}}, []string{"link eth0", "link eth0"}, nil},
		"an address on loopback": {hooked{routed: routed{on: dataplane.Interface{Name: "lo", Virtual: true}, to: "eth1"}}, []string{"link lo", "link eth1"}, nil},
		"no link":                {hooked{}, nil, nil},
		"no right to look":       {hooked{routed{on: dataplane.Interface{Name: "eth0"}, to: "eth0"}, refused}, []string{"link eth0"}, refused},
	} {
		h := &Host{Config: Config{Host: "h1"}, Kernel: &c.kernel, State: func() control.State {
			s := twoHosts()
			s.Fast.Open = true
			return s
		}}
		found, err := fastPathCheck.Run(t.Context(), h)
		if !errors.Is(err, c.err) || len(found) != len(c.links) {
			t.Errorf("%s: found %+v, error %v", name, found, err)
			continue
		}
		for i, f := range found {
			if f.Object != c.links[i] {
				t.Errorf("%s: finding %d is on %s and not on %s", name, i, f.Object, c.links[i])
			}
		}
	}
	if _, err := fastPathCheck.Run(t.Context(), &Host{}); err == nil {
		t.Error("it is made without a daemon")
	}
}

// A note is shown, and neither counts nor explains anything.
func TestNotesDoNotCount(t *testing.T) {
	note := Finding{Object: "x", Problem: "p", Cure: "c", Severity: control.Note}
	risk := Finding{Object: "x", Problem: "p", Cure: "c", Severity: control.Risk}
	all := []Check{
		{Name: "noted", Code: 90, Run: ofState(func(control.State) []Finding { return []Finding{note} })},
		{Name: "both", Code: 91, After: []string{"noted"}, Run: ofState(func(control.State) []Finding { return []Finding{note, risk} })},
	}
	h := &Host{State: func() control.State { return control.State{} }}
	for only, want := range map[string]int{"noted": 0, "both": 91} {
		if d, err := examine(t.Context(), all, h, []string{only}); err != nil || d.Code != want || d.Healthy != (want == 0) {
			t.Errorf("%s: %+v, %v", only, d, err)
		}
	}
	if d, err := examine(t.Context(), all, h, nil); err != nil || d.Code != 91 || len(d.Checks[1].Follows) > 0 {
		t.Errorf("both: %+v, %v", d, err)
	}
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/dataplane/firewall"
	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
)

// says fails unless there is one finding with all the words, or none if there
// are no words.
func says(t *testing.T, name string, findings []Finding, words ...string) {
	t.Helper()
	if len(words) == 0 {
		if len(findings) > 0 {
			t.Errorf("%s: found %+v, want nothing", name, findings)
		}
		return
	}
	if len(findings) != 1 {
		t.Errorf("%s: found %+v, want one thing", name, findings)
		return
	}
	f := findings[0]
	for _, w := range words {
		if !strings.Contains(f.Object+"\n"+f.Problem+"\n"+f.Cure, w) {
			t.Errorf("%s: %+v does not say %q", name, f, w)
		}
	}
	if f.Object == "" || f.Problem == "" || f.Cure == "" || f.Severity == "" {
		t.Errorf("%s: %+v lacks something", name, f)
	}
}

func TestKernelThatLacksSomething(t *testing.T) {
	says(t, "all there", kernelFindings("host h1", nil))
	says(t, "no VXLAN", kernelFindings("host h1", []dataplane.Lack{{What: "VXLAN devices", Option: "CONFIG_VXLAN", Module: "vxlan", Err: syscall.EOPNOTSUPP}}),
		"VXLAN devices", "modprobe vxlan", "CONFIG_VXLAN", "host h1")
}

func TestDockerThatWeftCannotUse(t *testing.T) {
	const at = "unix:///run/docker.sock"
	ok := engine.Versions{Newest: "1.52", Oldest: "1.44"}
	for name, c := range map[string]struct {
		engine engine.Versions
		err    error
		want   []string
	}{
		"well":        {engine: ok},
		"absent":      {err: &os.PathError{Err: syscall.ENOENT}, want: []string{"no socket /run/docker.sock", "start Docker"}},
		"refused":     {err: &os.PathError{Err: syscall.ECONNREFUSED}, want: []string{"nobody listens"}},
		"forbidden":   {err: &os.PathError{Err: syscall.EACCES}, want: []string{"may not open"}},
		"silent":      {err: errors.New("no answer"), want: []string{"does not answer: no answer"}},
		"too old":     {engine: engine.Versions{Newest: "1.23"}, want: []string{"1.23", engine.MinAPI, "update Docker"}},
		"too new":     {engine: engine.Versions{Newest: "1.99", Oldest: "1.90"}, want: []string{"1.90", engine.MaxAPI, "update weft"}},
		"says little": {engine: engine.Versions{}},
	} {
		says(t, name, dockerFindings(at, c.engine, c.err), c.want...)
	}
}

func TestRoomOnTheDisk(t *testing.T) {
	says(t, "enough", room("/var/lib/weft", 1<<30, 1000, 900))
	says(t, "files are not counted", room("/var/lib/weft", 1<<30, 0, 0))
	says(t, "no bytes", room("/var/lib/weft", 1<<20, 1000, 900), "1024 KiB", "/var/lib/weft")
	says(t, "no files", room("/var/lib/weft", 1<<30, 1000, 3), "room for 3 files")
}

func TestVersionsOfHosts(t *testing.T) {
	s := control.State{Snapshot: overlay.Snapshot{Self: overlay.Host{Name: "h1", Version: "v1"}}}
	host := func(name, version string, live bool) control.HostState {
		return control.HostState{Host: overlay.Host{Name: name, Version: version}, Live: live}
	}
	s.Hosts = []control.HostState{host("h2", "v1", true), host("h3", "v0", false)}
	says(t, "one of a host that is down", versions(s))
	s.Hosts = append(s.Hosts, host("h4", "v2", true))
	says(t, "two", versions(s), "v1 on h1, h2; v2 on h4")
}

func TestRecordsThatCannotBeUsed(t *testing.T) {
	c := Config{Store: "consul://192.0.2.10:8500", Prefix: "weft"}
	unknown := func(key string) []skipped.Record {
		return []skipped.Record{{Key: key, Kind: format.Unknown, Why: "stands under a key that weft does not know"}}
	}
	says(t, "none", recordFindings(c, nil))
	says(t, "a folder of Consul's UI", recordFindings(c, unknown("host/")), "weft/host/", "`consul kv delete weft/host/`", "passed over")
	says(t, "a key for the shell", recordFindings(c, unknown("net/it's $HOME")), `consul kv delete 'weft/net/it'\''s $HOME'`)
	says(t, "a key that cannot be typed", recordFindings(c, unknown("net/\xff")), `weft/net/\xff`, "UI")
	says(t, "a cure of its own", recordFindings(c, []skipped.Record{{Key: "host/h2/doc", Why: "has the name", Cure: "update weft; else delete the record"}}),
		"update weft; else delete it with `consul kv delete weft/host/h2/doc`")
	says(t, "a file", recordFindings(Config{Store: "bolt:///var/lib/weft/weft.db"}, unknown("net/x")), "/var/lib/weft/weft.db", "stop weft")
	var many []skipped.Record
	for range 100 {
		many = append(many, unknown("net/x")...)
	}
	if got := recordFindings(c, many); len(got) != mostRecords+1 || !strings.Contains(got[mostRecords].Problem, "80 more") {
		t.Errorf("%d findings of 100 records", len(got))
	}
}

func TestPortThatIsTaken(t *testing.T) {
	sockets := []dataplane.Socket{{Addr: netip.MustParseAddrPort("0.0.0.0:4789"), Inode: 7}}
	nobody := func(uint32) string { return "" }
	says(t, "by a program", []Finding{taken("host h1", 4789, sockets, nil, func(uint32) string { return "vmnet (process 9)" })}, "vmnet (process 9) on 0.0.0.0:4789", "--vxlan-port")
	says(t, "by a tunnel", []Finding{taken("host h1", 4789, sockets, []dataplane.ForeignTunnel{{Link: "flannel.1", VNI: 1}}, nobody)}, "flannel.1")
	says(t, "by who knows whom", []Finding{taken("host h1", 4789, sockets, nil, nobody)}, "not weft's")
	networks := map[string]overlay.Network{"n": {ID: "n", Name: "web", VNI: 7}}
	says(t, "another's VNI", sharedVNIs(4789, []dataplane.ForeignTunnel{{Link: "x", VNI: 8}}, networks))
	says(t, "a network's VNI", sharedVNIs(4789, []dataplane.ForeignTunnel{{Link: "x", VNI: 7}}, networks), "link x", `"web"`)
}

func TestSubnetThatTheHostRoutesElsewhere(t *testing.T) {
	network := overlay.Network{ID: "n", Name: "web", Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}}
	routes := []dataplane.Route{{Prefix: netip.MustParsePrefix("192.0.2.64/26"), Link: "tun0"}, {Prefix: netip.MustParsePrefix("198.51.100.0/24"), Link: "eth0"}}
	says(t, "overlap", overlaps("host h1", map[string]overlay.Network{"n": network}, routes), "192.0.2.64/26", "tun0", `"web"`)
	network.Internal = true
	says(t, "an internal network", overlaps("host h1", map[string]overlay.Network{"n": network}, routes))
}

func TestUnderlayThatIsNotAsWeftThinks(t *testing.T) {
	self := overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), MTU: 1500}
	says(t, "well", underlayFindings(self, dataplane.Interface{Name: "eth0", MTU: 1500, Up: true}, true))
	says(t, "small", underlayFindings(self, dataplane.Interface{Name: "eth0", MTU: 1400, Up: true}, true), "1500", "1400", "eth0")
	says(t, "down", underlayFindings(self, dataplane.Interface{Name: "eth0", MTU: 1500}, true), "is down")
	says(t, "on a link that only holds it", underlayFindings(self, dataplane.Interface{Name: "dummy0", MTU: 1400, Up: true, Virtual: true}, true))
	says(t, "gone", underlayFindings(self, dataplane.Interface{}, false), "192.0.2.1", "on no link")
}

func TestLeftoversHaveNoRecord(t *testing.T) {
	id := strings.Repeat("ab", 32)
	s := overlay.Snapshot{Local: []overlay.Endpoint{{ID: id, Network: "n"}}}
	if left := unaccounted(dataplane.Marked{Networks: []string{"n"}, Links: []string{overlay.ContainerLink(id)}}, s); len(left) != 0 {
		t.Errorf("what has a record is left over: %v", left)
	}
	left := unaccounted(dataplane.Marked{Networks: []string{"n", "old"}, Links: []string{"wc0123456789ab"}}, s)
	if len(left) != 2 || left[0].object != "namespace weft-old" || left[1].object != "link wc0123456789ab" {
		t.Errorf("left over: %v", left)
	}
}

func TestPassesThatFailOrHang(t *testing.T) {
	now := time.Now()
	s := control.State{Snapshot: overlay.Snapshot{Self: overlay.Host{Name: "h1"}}, Passes: control.Passes{Count: 3, Last: now, Every: 4 * time.Second}}
	says(t, "well", passes(s, now))
	says(t, "overdue", passes(s, now.Add(2*time.Minute)), "hangs", "host h1")
	s.Passes.Errors = []string{"network n: no such device"}
	says(t, "errors", passes(s, now), "no such device")
}

func TestPassesThatLeaveContainersOut(t *testing.T) {
	s := with(overlay.Network{ID: "n", Name: "web"}, true)
	for i := range overlay.MostPorts + 1 {
		s.Snapshot.Local = append(s.Snapshot.Local, overlay.Endpoint{ID: fmt.Sprint(i), Network: "n", Phase: overlay.Joined})
	}
	says(t, "more containers than ports", passes(s, time.Now()), "host h1", `"web"`, "1022", "1021", "on other hosts")
	s.Snapshot.Local = s.Snapshot.Local[1:]
	says(t, "as many as there are ports", passes(s, time.Now()))
}

// sysctls is a Host whose kernel has these settings.
func sysctls(port, push uint16, settings map[string]string) *Host {
	return &Host{Config: Config{Host: "h1", Port: port, PushPort: push}, Sysctl: func(name string) (string, error) {
		if v, ok := settings[name]; ok {
			return v + "\n", nil
		}
		return "", os.ErrNotExist
	}}
}

func TestSettingsOfTheKernel(t *testing.T) {
	const ranged, reserved, most = "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "user.max_net_namespaces"
	find := func(h *Host) []Finding {
		t.Helper()
		out, err := sysctlCheck.Run(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	says(t, "usual", find(sysctls(4789, 7947, map[string]string{ranged: "32768\t60999", reserved: "", most: "127000"})))
	says(t, "a port in the range", find(sysctls(4789, 7947, map[string]string{ranged: "5000\t60999", reserved: ""})), "7947", reserved)
	says(t, "but reserved", find(sysctls(4789, 7947, map[string]string{ranged: "1024\t60999", reserved: "80,4000-4800,7947"})))
	says(t, "few namespaces", find(sysctls(4789, 7947, map[string]string{ranged: "32768\t60999", reserved: "", most: "5"})), "only 5")
}

// routed is a kernel that has the underlay's address on a link, routes to others
// over another, and drops whatever its firewall is asked about.
type routed struct {
	Kernel
	on    dataplane.Interface // "": the address is on no link
	to    string              // "": there is no route
	asked []firewall.Packet
}

func (r *routed) InterfaceOf(netip.Addr) (dataplane.Interface, bool, error) {
	return r.on, r.on.Name != "", nil
}

func (r *routed) InterfaceTo(netip.Addr) (string, error) {
	if r.to == "" {
		return "", syscall.ENETUNREACH
	}
	return r.to, nil
}

func (r *routed) Drops(_ context.Context, packets []firewall.Packet) ([]*firewall.Drop, error) {
	r.asked = packets
	out := make([]*firewall.Drop, len(packets))
	for i := range out {
		out[i] = &firewall.Drop{Family: "inet", Table: "f", Chain: "c", Rule: "its policy"}
	}
	return out, nil
}

// twoHosts is a state in which h1 is this host and h2 lives.
func twoHosts() control.State {
	return control.State{
		Snapshot: overlay.Snapshot{Self: overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1")}},
		Hosts:    []control.HostState{{Host: overlay.Host{Name: "h2", VTEP: netip.MustParseAddr("192.0.2.2")}, Live: true}},
	}
}

func TestSourceThatTheKernelDoubts(t *testing.T) {
	for name, c := range map[string]struct {
		all, link, to string
		want          []string
	}{
		"symmetric":                 {"1", "1", "eth0.5", nil},
		"other way, strict":         {"0", "1", "eth1", []string{"h2", "eth1", "rp_filter"}},
		"other way, strict for all": {"1", "0", "eth1", []string{"h2"}},
		"other way, loose":          {"1", "2", "eth1", nil},
		"other way, off":            {"0", "0", "eth1", nil},
	} {
		h := sysctls(4789, 0, map[string]string{"net.ipv4.conf.all.rp_filter": c.all, "net.ipv4.conf.eth0/5.rp_filter": c.link})
		h.Kernel, h.State = &routed{on: dataplane.Interface{Name: "eth0.5", MTU: 1500, Up: true}, to: c.to}, twoHosts
		found, err := sourceCheck(h)
		if err != nil {
			t.Fatal(err)
		}
		says(t, name, found, c.want...)
	}
	h := sysctls(4789, 0, map[string]string{"net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.lo.rp_filter": "0"})
	h.Kernel, h.State = &routed{on: dataplane.Interface{Name: "lo", Up: true, Virtual: true}, to: "eth1"}, twoHosts
	if found, err := sourceCheck(h); err != nil || len(found) > 0 {
		t.Errorf("an address on lo: found %+v, error %v", found, err)
	}
	h.Kernel = &routed{}
	if found, err := sourceCheck(h); !errors.Is(err, noLink) || len(found) > 0 {
		t.Errorf("an address on no link: found %+v, error %v", found, err)
	}
}

// What the firewall is asked about are packets on the links that they really use.
func TestFirewallIsAskedAboutTheRightLinks(t *testing.T) {
	for name, c := range map[string]struct {
		kernel  routed
		in, out string // "": it is not asked
		err     error
	}{
		"one link":               {routed{on: dataplane.Interface{Name: "eth0"}, to: "eth0"}, "eth0", "eth0", nil},
		"others are elsewhere":   {routed{on: dataplane.Interface{Name: "eth0"}, to: "eth1"}, "eth0", "eth1", nil},
		"an address on loopback": {routed{on: dataplane.Interface{Name: "lo", Virtual: true}, to: "eth1"}, "eth1", "eth1", nil},
		"no route":               {routed{on: dataplane.Interface{Name: "eth0"}}, "", "", syscall.ENETUNREACH},
		"no link":                {routed{to: "eth0"}, "", "", noLink},
	} {
		h := &Host{Config: Config{Host: "h1", Port: 4789}, Kernel: &c.kernel, State: twoHosts}
		found, err := firewallCheck.Run(t.Context(), h)
		if !errors.Is(err, c.err) || (c.in == "") != (len(found) == 0) {
			t.Errorf("%s: found %+v, error %v", name, found, err)
		}
		for _, p := range c.kernel.asked {
			if want := map[bool]string{true: c.in, false: c.out}[p.In]; p.Link != want {
				t.Errorf("%s: asked about %+v, want link %s", name, p, want)
			}
		}
	}
}

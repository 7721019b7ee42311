package borders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/test/borders/craft"
)

// vxlanPort is weft's and Docker's.
const vxlanPort = 4789

// attack is one attacker with what it sends.
type attack struct {
	name string
	// Runs a program as the attacker.
	run func(ctx context.Context, argv ...string) *exec.Cmd
	job craft.Job
	// What rp_filter of the host is set to; the last one counts for all the others.
	filter int
}

// attacks are all of them, over one family.
func (s *site) attacks(family int) []attack {
	wire := s.link(s.h1, "eth0")
	far := s.link(s.h2, "eth0")
	one, two := underlay(s.h1, family), underlay(s.h2, family)
	bridges := map[string]link{"docker0": s.link(s.h1, "docker0"), "docker_gwbridge": s.link(s.h1, "docker_gwbridge")}
	local := of(family, wire.addrs, bridges["docker0"].addrs, bridges["docker_gwbridge"].addrs)

	socket := func(name, box string) attack {
		return attack{name: name, run: s.inside(box), job: craft.Job{Way: craft.Socket, Targets: to(craft.MAC{}, append(global(local), two, two)...)}}
	}
	behind := socket("container without rights, docker0", "behind-bare")
	gateway := socket("container without rights, docker_gwbridge", "tenant-bare")
	hostnet := socket("container in the host's network", "hostnet")
	nobody := socket("process of the host", "")
	nobody.run = func(ctx context.Context, argv ...string) *exec.Cmd {
		return s.h1.Command(ctx, append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"}, argv...)...)
	}
	for _, a := range []*attack{&hostnet, &nobody} {
		a.job.Sources = append([]netip.Addr{{}}, global(local)...) // the first is the kernel's choice
		a.job.Targets = append(a.job.Targets, to(craft.MAC{}, loopback(family))...)
	}
	out := []attack{behind, hostnet, nobody}
	if family == 4 {
		out = append(out, gateway) // docker_gwbridge has no IPv6
	}
	for _, a := range out {
		a.name += ", UDP_SEGMENT"
		a.job.Way = craft.Segment
		out = append(out, a)
	}

	// Behind a bridge all are forged, members too: what the host does not check
	// nobody does.
	for filter := range 3 {
		if family == 6 && filter > 0 {
			break // IPv6 has no such setting
		}
		for _, at := range []struct{ bridge, box, device string }{{"docker0", "behind", "eth0"}, {"docker_gwbridge", "tenant", "eth1"}} {
			bridge, device := bridges[at.bridge], at.device
			own := s.linkIn(s.boxes[at.box].netns, device)
			name := "container with NET_RAW, " + at.bridge
			if family == 4 {
				name += fmt.Sprintf(", rp_filter %d", filter)
			}
			out = append(out, attack{name: name, run: s.inside(at.box), filter: filter, job: craft.Job{
				Way: craft.Wire, Link: device, MAC: own.mac,
				Targets: slices.Concat(to(bridge.mac, local...), to(bridge.mac, two, loopback(family)), to(craft.Broadcast, everybody(family)...)),
				// The likely ones more often.
				Sources: slices.Concat(local, odd(family), []netip.Addr{two, two, two}, slices.Repeat(of(family, own.addrs), 3)),
			}})
		}
	}

	// On the wire: Consul's server, no member. It sends from its own address, or
	// from one that is no host's.
	consul := s.lab.Consul(1)
	own := consul.Addr()
	if family == 6 {
		own = consul.Addr6()
	}
	targets := slices.Concat(to(wire.mac, local...), to(far.mac, two), to(craft.Broadcast, everybody(family)...))
	on := func(ctx context.Context, argv ...string) *exec.Cmd { return consul.Command(ctx, argv...) }
	stranger := attack{name: "stranger on the wire", run: on, job: craft.Job{
		Way: craft.Wire, Link: "eth0", MAC: s.linkIn(consul.Netns(), "eth0").mac,
		Targets: targets, Sources: append(odd(family), own, own, own),
	}}
	cut := attack{name: "stranger on the wire, UDP_SEGMENT", run: on, job: craft.Job{Way: craft.Segment, Targets: to(craft.MAC{}, one, two)}}
	tenant := attack{name: "container at its own port", run: s.inside("tenant"), job: craft.Job{
		Way: craft.Port, Link: "eth0", MAC: s.boxes["tenant"].MAC, Self: s.boxes["tenant"].Station, Peer: s.boxes["neighbour"].Station,
	}}
	out = append(out, stranger, cut, tenant)
	for i := range out {
		out[i].job.UDP, out[i].job.VNI = vxlanPort, s.victim.vni
		out[i].job.Victims = []craft.MAC{s.boxes["victim1"].MAC, s.boxes["victim2"].MAC}
	}
	return out
}

// inside runs programs in a container, with its rights.
func (s *site) inside(name string) func(context.Context, ...string) *exec.Cmd {
	return func(ctx context.Context, argv ...string) *exec.Cmd {
		argv[0] = "/shooter"
		return s.h1.Command(ctx, append([]string{"docker", "exec", name}, argv...)...)
	}
}

// row is a line of the table.
type row struct {
	firewall, attacker string
	family             int
	job                craft.Job
	sent, refused      int
	inside             []int
}

// shoot has all attackers send. count says how much.
func (s *site) shoot(f firewall, family int, attacks []attack, count func(*craft.Job) int) []row {
	s.t.Helper()
	rows := make([]row, len(attacks))
	for _, filter := range []int{1, 2, 0} {
		s.setFilter(filter)
		shooting, ctx := errgroup.WithContext(s.t.Context())
		shooting.SetLimit(3)
		for i, a := range attacks {
			if a.filter != filter {
				continue
			}
			s.rows++
			a.job.Row, a.job.Seed = s.rows, *seed<<16|uint64(s.rows)
			a.job.Count = count(&a.job)
			rows[i] = row{firewall: f.name, attacker: a.name, family: family, job: a.job, sent: a.job.Count}
			shooting.Go(func() (err error) {
				rows[i].refused, err = a.shoot(ctx)
				return err
			})
		}
		if err := shooting.Wait(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.members()
	if n := s.watch.missed(); n > 0 {
		s.t.Logf("the captures have missed %d frames: more are inside than is said", n)
	}
	for i := range rows {
		rows[i].inside = s.watch.inside(rows[i].job.Row)
	}
	return rows
}

// shoot sends, and gives what the attacker's own kernel refused.
func (a attack) shoot(ctx context.Context) (refused int, err error) {
	job, err := json.Marshal(a.job)
	if err != nil {
		return 0, err
	}
	out, err := a.run(ctx, shooter, string(job)).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return 0, fmt.Errorf("%s: %w: %s", a.name, err, strings.TrimSpace(string(exit.Stderr)))
	}
	var said struct{ Refused int }
	if err == nil {
		err = json.Unmarshal(out, &said)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", a.name, err)
	}
	return said.Refused, nil
}

// setFilter sets rp_filter of all links of h1; the larger of a link's and of all's counts.
func (s *site) setFilter(value int) {
	s.t.Helper()
	script := fmt.Sprintf("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo %d >$f; done", value)
	if _, err := s.h1.Run(s.t.Context(), "sh", "-c", script); err != nil {
		s.t.Fatal(err)
	}
}

// shapes tells which shapes got in, and how often.
func (r row) shapes() string {
	count, example := map[string]int{}, map[string]int{}
	var names []string
	for _, i := range r.inside {
		name := r.job.Shot(i).Shape
		if count[name]++; count[name] == 1 {
			names, example[name] = append(names, name), i
		}
	}
	var out []string
	for _, n := range names {
		out = append(out, fmt.Sprintf("%d of %q (%s)", count[n], n, r.job.Describe(example[n])))
	}
	const enough = 12
	if len(out) > enough {
		out = append(out[:enough], fmt.Sprintf("and %d more shapes", len(out)-enough))
	}
	return strings.Join(out, "; ")
}

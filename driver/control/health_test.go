package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
)

func TestADownHostElsewhereIsAWarningOnly(t *testing.T) {
	s := newIndex(healthy()).status(start.Add(time.Minute))
	if !s.Healthy || len(s.Problems) != 0 {
		t.Errorf("problems: %q", s.Problems)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "h3") {
		t.Errorf("warnings: %q", s.Warnings)
	}
}

func TestEachProblemIsOneSentence(t *testing.T) {
	peer := func(s *State, f func(h *overlay.Host)) {
		h := s.Hosts[1].Host
		f(&h)
		s.Hosts[1].Host, s.Snapshot.Hosts[h.Name] = h, h
	}
	for name, c := range map[string]struct {
		damage func(s *State)
		want   string // all problems, a line each
	}{
		"nothing": {func(*State) {}, ""},
		"the store is away": {
			func(s *State) { s.Store = Store{URL: "consul://x:8500", Since: start, Error: "connection refused"} },
			"the store consul://x:8500 has not answered since 2026-03-01T12:00:00Z: connection refused; what runs here goes on, but changes do not travel between hosts, and no network can be created",
		},
		"the store is away, and all hosts are heard": {
			func(s *State) {
				s.Store = Store{URL: "consul://x:8500", Since: start}
				s.Hosts[0].Heard, s.Hosts[1].Heard = start, start
			},
			"the store consul://x:8500 has not answered since 2026-03-01T12:00:00Z: no reason is known; what runs here goes on, and changes travel directly from host to host, but no network can be created",
		},
		"the store is away, and one host is not heard any more": {
			func(s *State) {
				s.Store = Store{URL: "consul://x:8500", Since: start}
				s.Hosts[0].Heard, s.Hosts[1].Heard, s.Hosts[1].Silent = start, start, true
			},
			"the store consul://x:8500 has not answered since 2026-03-01T12:00:00Z: no reason is known; what runs here goes on, but changes travel only between hosts that hear each other directly, this one 1 of 2, and no network can be created",
		},
		"the store is away, and there is no other host": {
			func(s *State) {
				s.Store = Store{URL: "consul://x:8500", Since: start}
				s.Hosts = nil
			},
			"the store consul://x:8500 has not answered since 2026-03-01T12:00:00Z: no reason is known; what runs here goes on, but no network can be created",
		},
		"Docker is away": {
			func(s *State) { s.Docker.Connected, s.Docker.Error = false, "no such file" },
			"Docker's API at unix:///var/run/docker.sock has not answered since 2026-03-01T12:00:00Z: no such file; networks are not mirrored and new containers have no names",
		},
		"Docker has not been tried": {
			func(s *State) { s.Docker.Connected, s.Docker.Since = false, time.Time{} },
			"Docker's API at unix:///var/run/docker.sock has not been reached yet: networks are not mirrored and new containers have no names",
		},
		"several foreign networks, told in any order": {
			func(s *State) {
				s.Docker.Conflicts = []Conflict{{Network: "web", Text: "two"}, {Network: "lab", Text: "one"}}
			}, "one\ntwo",
		},
		"Docker is not wanted": {func(s *State) { s.Docker = Docker{} }, ""},
		"a foreign network": {
			func(s *State) { s.Docker.Conflicts = []Conflict{{Network: "lab", Text: "that one"}} }, "that one",
		},
		"no pass": {
			func(s *State) { s.Passes = Passes{} },
			"the kernel has not been looked at since the daemon's start at 2026-03-01T12:00:00Z",
		},
		"no pass for long": {
			func(s *State) { s.Passes.Last = start.Add(-time.Minute) },
			"the kernel was last looked at 2026-03-01T11:59:00Z, though that is due every 30s: a call to the kernel may be hanging",
		},
		"a failed pass": {
			func(s *State) { s.Passes.Errors = []string{"network lab: no memory"} },
			"the kernel does not match the records: network lab: no memory",
		},
		"no underlay": {
			func(s *State) { s.Snapshot.Self.VTEP = netip.Addr{} },
			"host h1 has no underlay address, so its containers do not reach other hosts: see --advertise",
		},
		"another family": {
			func(s *State) { peer(s, func(h *overlay.Host) { h.VTEP = addr("2001:db8::2") }) },
			"host h2 has underlay address 2001:db8::2 and host h1 192.0.2.1: containers reach each other only over one address family: set --advertise on one of them",
		},
		"another port": {
			func(s *State) { peer(s, func(h *overlay.Host) { h.Port = 8472 }) },
			"host h2 uses UDP port 8472 and host h1 4789: containers reach each other only over one port: set --vxlan-port on one of them",
		},
		"one underlay address twice": {
			func(s *State) { peer(s, func(h *overlay.Host) { h.VTEP = addr("192.0.2.1") }) },
			"hosts h1 and h2 have one underlay address, 192.0.2.1: set --advertise on each",
		},
		"a dead host's underlay address is used again": {
			func(s *State) { peer(s, func(h *overlay.Host) { h.VTEP = addr("192.0.2.3") }) }, "",
		},
		"one address twice": {
			func(s *State) { s.Snapshot.Local[0].Addrs[0] = addr("10.1.0.3") },
			`address 10.1.0.3 of network "web" is used twice, by container "c1" on host h1 and container "c2" on host h2: remove one of them`,
		},
		"more containers than a bridge has ports": {
			func(s *State) { crowd(s, overlay.MostPorts+2) },
			`host h1 has 1023 containers in network "web", and a bridge of Linux has ports for 1021, so 2 are not connected, of which the oldest is container "c1021" on host h1: take containers out of the network on this host, and start them on other hosts`,
		},
		"as many containers as a bridge has ports": {func(s *State) { crowd(s, overlay.MostPorts) }, ""},
		"an address used again while Docker is deleting": {
			func(s *State) {
				s.Snapshot.Local[0].Addrs[0], s.Snapshot.Local[0].Phase = addr("10.1.0.3"), overlay.Left
			}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := healthy()
			c.damage(&s)
			got := newIndex(s).status(start.Add(time.Minute))
			if all := strings.Join(got.Problems, "\n"); all != c.want {
				t.Errorf("problems\n got %s\nwant %s", all, c.want)
			}
			if n := strings.Count(c.want, "is used twice"); got.Counts.Duplicates != n {
				t.Errorf("%d duplicates, want %d", got.Counts.Duplicates, n)
			}
			for _, f := range slices.Concat(Crowded(s), Mismatches(s), Duplicates(s)) {
				if f.Object == "" || f.Severity != Broken || f.Problem+": "+f.Cure != c.want {
					t.Errorf("%+v is no finding of the problem\n%s", f, c.want)
				}
			}
			if got.Healthy != (c.want == "") {
				t.Errorf("healthy: %v", got.Healthy)
			}
		})
	}
}

// crowd gives this host that many containers in a network, in the order of their numbers.
func crowd(s *State, containers int) {
	s.Snapshot.Local = nil
	for i := range containers {
		s.Snapshot.Local = append(s.Snapshot.Local, overlay.Endpoint{
			ID: fmt.Sprintf("e%d", i), Network: "aaaaaaaaaaaa", Phase: overlay.Joined,
			Name: fmt.Sprintf("c%d", i), Created: start.Add(time.Duration(i) * time.Second),
		})
	}
	slices.Reverse(s.Snapshot.Local)
}

func TestRecordsThatArePassedOverAreAWarning(t *testing.T) {
	s := healthy()
	for _, key := range []string{"host/", "net/a", "net/b", "net/c", "net/d"} {
		s.Skipped = append(s.Skipped, skipped.Record{Key: key, Kind: format.Unknown, Why: "is nobody's"})
	}
	status := newIndex(s).status(start.Add(time.Minute))
	want := "5 records of the store cannot be used and are passed over (\"host/\", \"net/a\", \"net/b\" and 2 more): see `weft doctor --only records`"
	if !status.Healthy || len(status.Skipped) != 5 || status.Warnings[0] != want {
		t.Errorf("warnings: %q", status.Warnings)
	}
}

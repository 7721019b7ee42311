package main

import (
	"maps"
	"runtime"
	"slices"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/dataplane/direct"
	"github.com/weft-net/weft/driver/metrics"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// view gathers what the control socket shows.
func (d *daemon) view() control.State {
	meta, contact, passes := d.registry.Keyring().Meta(), d.registry.Contact(), d.reconciler.Status()
	s := control.State{
		Version: version, Commit: commit, Started: d.started, Cluster: meta.ID, Goroutines: runtime.NumGoroutine(),
		Snapshot: d.registry.Snapshot(), Own: d.registry.Own(), Skipped: d.skipped.Records(),
		Store: control.Store{URL: d.cfg.Store, Reachable: contact.Err == nil, Since: contact.Since},
		Passes: control.Passes{
			Count: passes.Passes, Repairs: passes.Repairs, Last: passes.Last, Took: passes.Took,
			Every: verifyEvery, Errors: passes.Errors, Failed: passes.Failed,
		},
	}
	s.Fast = fastOf(d.kernel, s.Snapshot)
	s.Direct = directOf(d.kernel.Directs(), s.Snapshot)
	s.Keys = keysOf(d.registry.Keyring().Status())
	if contact.Err != nil {
		s.Store.Error = contact.Err.Error()
	}
	for _, h := range d.registry.HostStates() {
		s.Hosts = append(s.Hosts, control.HostState{Host: h.Host, Live: h.Live, Since: h.Since, Silent: h.Silent, Heard: h.Heard})
	}
	if d.mirror == nil {
		return s
	}
	m := d.mirror.Status()
	s.Docker = control.Docker{
		Mirroring: true, URL: d.cfg.Docker, Connected: m.Connected, Since: m.Since, Error: m.Error,
	}
	for network, c := range m.Conflicts {
		s.Docker.Conflicts = append(s.Docker.Conflicts, control.Conflict{Network: network, ID: c.ID, Text: c.Text})
	}
	return s
}

// fastOf tells of the fast path; here are this host's endpoints.
func fastOf(k *dataplane.Dataplane, here overlay.Snapshot) control.FastPath {
	f, err := k.FastState()
	out := control.FastPath{
		Open: f.Why.Cause == "", Cause: string(f.Why.Cause), Why: f.Why.Text, Sent: f.Sent, Received: f.Received, Local: f.Local,
		SentDirect: f.SentDirect, ReceivedDirect: f.ReceivedDirect,
	}
	if err != nil {
		out.Why = err.Error()
	}
	if !out.Open {
		return out
	}
	for _, id := range slices.Sorted(maps.Keys(f.Slow)) {
		if out.Slow == nil {
			out.Slow = map[string]string{}
		}
		out.Slow[id] = f.Slow[id].Text
		if f.Slow[id].Cause == dataplane.CauseFault {
			out.Faults = append(out.Faults, id)
		}
	}
	used := map[string]bool{}
	for _, e := range here.Local {
		if _, slow := f.Slow[e.Network]; !slow && e.Phase == overlay.Joined {
			used[e.Network] = true
		}
	}
	out.Networks = len(used)
	return out
}

// directOf tells how packets go to the other hosts.
func directOf(d dataplane.Directs, s overlay.Snapshot) control.Direct {
	return control.DirectOf(s, d.NIC != overlay.MAC{}, d.Why, func(network string, to overlay.Host) direct.State {
		for _, w := range d.Ways {
			if w.Network == network && w.VTEP == to.VTEP {
				return w.State
			}
		}
		return ""
	})
}

func keysOf(s registry.KeysStatus) control.Keys {
	return control.Keys{Generation: s.Generation, Count: s.Count, Waits: slices.Concat([]string{}, s.Waits)}
}

// measure gathers what a scrape of the metrics shows.
func (d *daemon) measure() metrics.State {
	names := d.names.Status()
	return metrics.State{State: d.view(), Pools: d.allocator.Usage(), Behind: d.registry.Behind(), Names: &names, Push: d.push.Stats()}
}

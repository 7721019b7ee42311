package control

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

// notFoundError is a sentence about something that does not exist.
type notFoundError string

// Error implements error.
func (e notFoundError) Error() string { return string(e) }

// index is a State arranged for looking things up. Each list in it is sorted.
type index struct {
	State
	hosts     []Host
	endpoints []Endpoint                        // by network, host and id
	on        map[string]map[string]NetworkHost // by network id and host
	local     map[string][]overlay.Endpoint     // this host's, by network id
}

// newIndex arranges s, which it leaves as it is.
func newIndex(s State) *index {
	x := &index{State: s, on: map[string]map[string]NetworkHost{}, local: map[string][]overlay.Endpoint{}}
	x.Docker.Conflicts = slices.SortedFunc(slices.Values(s.Docker.Conflicts), func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.Text, b.Text))
	})
	x.Passes.Errors, x.Passes.Failed = slices.Sorted(slices.Values(s.Passes.Errors)), slices.Sorted(slices.Values(s.Passes.Failed))
	self := s.Snapshot.Self
	for _, at := range s.Own {
		x.place(at.Network, self.Name, at.Stock)
	}
	for network, peers := range s.Snapshot.Peers {
		for _, at := range peers {
			var endpoints []Endpoint
			for _, e := range at.Endpoints {
				endpoints = append(endpoints, x.endpoint(at.Host, overlay.Endpoint{
					ID: e.ID, Network: network, MAC: e.MAC, Addrs: e.Addrs, Name: e.Name,
				}))
			}
			x.place(network, at.Host, at.Stock, endpoints...)
		}
	}
	for _, e := range s.Snapshot.Local {
		x.local[e.Network] = append(x.local[e.Network], e)
		x.place(e.Network, self.Name, nil, x.endpoint(self.Name, e))
	}
	x.hosts = append(x.hosts, x.host(HostState{Host: self, Live: true, Since: s.Started}))
	for _, h := range s.Hosts {
		x.hosts = append(x.hosts, x.host(h))
	}
	slices.SortFunc(x.hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	x.finish()
	return x
}

// place adds to what the host has in the network.
func (x *index) place(network, host string, stock []netip.Addr, endpoints ...Endpoint) {
	if x.on[network] == nil {
		x.on[network] = map[string]NetworkHost{}
	}
	nh, ok := x.on[network][host]
	if !ok {
		nh = NetworkHost{Host: host, Endpoints: []Endpoint{}, Stock: []netip.Addr{}}
	}
	nh.Stock = append(nh.Stock, stock...)
	nh.Endpoints = append(nh.Endpoints, endpoints...)
	x.on[network][host] = nh
}

func (x *index) endpoint(host string, e overlay.Endpoint) Endpoint {
	return Endpoint{
		ID: e.ID, Container: e.Name, Network: e.Network, NetworkName: x.Snapshot.Networks[e.Network].Name,
		Host: host, Addrs: list(e.Addrs), MAC: e.MAC, Phase: e.Phase,
	}
}

func (x *index) host(h HostState) Host {
	out := Host{
		Name: h.Name, Self: h.Name == x.Snapshot.Self.Name, Incarnation: h.Incarnation,
		VTEP: address(h.VTEP), Port: h.Port, MTU: h.MTU, Version: h.Version, State: HostDown, Since: h.Since, Silent: h.Silent,
	}
	switch {
	case out.Self:
		out.State = HostLive
	case !x.Store.Reachable:
		out.State, out.Since = HostUnknown, x.Store.Since
	case h.Live:
		out.State = HostLive
	}
	for _, hosts := range x.on {
		if nh, ok := hosts[h.Name]; ok {
			out.Networks++
			out.Endpoints += len(nh.Endpoints)
		}
	}
	return out
}

// finish sorts what place has added, and fills in what depends on all of it.
func (x *index) finish() {
	for _, hosts := range x.on {
		for name, nh := range hosts {
			nh.State = x.liveness(name)
			slices.SortFunc(nh.Endpoints, func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) })
			slices.SortFunc(nh.Stock, netip.Addr.Compare)
			hosts[name] = nh
		}
	}
	x.endpoints = []Endpoint{}
	for _, network := range slices.Sorted(maps.Keys(x.on)) {
		for _, nh := range x.onHosts(network) {
			x.endpoints = append(x.endpoints, nh.Endpoints...)
		}
	}
}

func (x *index) liveness(host string) HostLiveness {
	for _, h := range x.hosts {
		if h.Name == host {
			return h.State
		}
	}
	return HostUnknown
}

// onHosts lists the hosts that have the network, by name.
func (x *index) onHosts(network string) []NetworkHost {
	out := slices.Collect(maps.Values(x.on[network]))
	slices.SortFunc(out, func(a, b NetworkHost) int { return cmp.Compare(a.Host, b.Host) })
	return list(out)
}

func (x *index) network(n overlay.Network) Network {
	out := Network{
		ID: n.ID, Name: n.Name, VNI: n.VNI, Subnets: []netip.Prefix{}, MTU: max(0, overlay.MTU(x.Snapshot, n)),
		Hosts: len(x.on[n.ID]),
	}
	for _, s := range n.Subnets {
		out.Subnets = append(out.Subnets, s.Prefix)
	}
	for _, nh := range x.on[n.ID] {
		out.Endpoints += len(nh.Endpoints)
	}
	out.State, out.Why = x.networkState(n)
	return out
}

// networkState gives the first state that holds, and why.
func (x *index) networkState(n overlay.Network) (NetworkState, string) {
	self := x.Snapshot.Self.Name
	_, here := x.on[n.ID][self]
	conflict := slices.IndexFunc(x.Docker.Conflicts, func(c Conflict) bool { return c.Network == cmp.Or(n.Name, n.ID) || c.ID == n.ID })
	switch {
	case !n.Deleted.IsZero():
		return NetworkRemoving, "the network was removed in the cluster while containers of this host use it"
	case conflict >= 0:
		return NetworkConflict, x.Docker.Conflicts[conflict].Text
	case slices.Contains(x.Passes.Failed, n.ID):
		return NetworkFailed, "the last pass could not set up the kernel for it: see `weft status`"
	case n.Name == "" && x.Docker.Mirroring:
		return NetworkUnnamed, fmt.Sprintf("Docker's API on host %s has not told the network's name yet, or another network of the cluster has it, so other hosts do not mirror it: `weft status` there says more", n.Host)
	case !here && n.Swarm:
		return NetworkRemote, fmt.Sprintf("Swarm runs no task on host %s that is in the network", self)
	case !here && x.Docker.Mirroring:
		return NetworkRemote, fmt.Sprintf("Docker on host %s does not have the network; it is mirrored as soon as Docker answers", self)
	case !here:
		return NetworkRemote, fmt.Sprintf("Docker on host %s does not have the network, and weft runs without Docker's API: create it there with -o weft.id=%s --ipam-opt weft.id=%s", self, n.ID, n.ID)
	}
	if why := x.portless(n); why != "" {
		return NetworkFailed, why
	}
	if overlay.TooNarrow(x.Snapshot.Self, n) {
		return NetworkNarrow, narrow(x.Snapshot.Self, n)
	}
	return NetworkOK, ""
}

// networks are all networks, by name and then id; networks without a name come last.
func (x *index) networks() []Network {
	out := []Network{}
	for _, n := range x.Snapshot.Networks {
		out = append(out, x.network(n))
	}
	slices.SortFunc(out, func(a, b Network) int {
		if (a.Name == "") != (b.Name == "") {
			return cmp.Compare(b.Name, a.Name)
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// find looks a network up by id or, failing that, by name.
func (x *index) find(idOrName string) (overlay.Network, error) {
	if n, ok := x.Snapshot.Networks[idOrName]; ok {
		return n, nil
	}
	for _, n := range x.Snapshot.Networks {
		if idOrName != "" && n.Name == idOrName {
			return n, nil
		}
	}
	return overlay.Network{}, notFoundError(fmt.Sprintf("weft knows no network %q: `weft network ls` lists those of the cluster", idOrName))
}

func (x *index) detail(idOrName string) (NetworkDetail, error) {
	n, err := x.find(idOrName)
	if err != nil {
		return NetworkDetail{}, err
	}
	out := NetworkDetail{
		Network: x.network(n), Record: n, On: x.onHosts(n.ID), MTUHost: overlay.BoundOf(x.Snapshot, n).Host,
		Narrow: []string{}, Ignored: judged(n, option.Ignored), Unkept: judged(n, option.Broken),
	}
	for _, h := range overlay.Narrow(x.Snapshot, n) {
		if _, has := x.on[n.ID][h.Name]; has {
			out.Narrow = append(out.Narrow, narrow(h, n))
		}
	}
	return out, nil
}

// judged are n's options with the verdict, and why they have it.
func judged(n overlay.Network, v option.Verdict) []string {
	out := []string{}
	for _, j := range option.Those(n, v) {
		out = append(out, fmt.Sprintf("%s=%s: %s", j.Key, j.Value, j.Why))
	}
	return out
}

// narrow is the sentence about a host whose underlay is too narrow for n.
func narrow(h overlay.Host, n overlay.Network) string {
	return fmt.Sprintf("the underlay of host %s takes packets of %d bytes, which leaves %d for the network, and it was created with an MTU of %d: give the underlay there an MTU of %d, or create the network anew with %d or less",
		h.Name, h.MTU, overlay.Room(h), n.MTU, n.MTU+overlay.Overhead(h.VTEP), overlay.Room(h))
}

// filtered are the endpoints that f lets pass.
func (x *index) filtered(f Filter) ([]Endpoint, error) {
	if f.Network != "" {
		n, err := x.find(f.Network)
		if err != nil {
			return nil, err
		}
		f.Network = n.ID
	}
	if f.Host != "" && !slices.ContainsFunc(x.hosts, func(h Host) bool { return h.Name == f.Host }) {
		return nil, notFoundError(fmt.Sprintf("weft knows no host %q: `weft host ls` lists those of the cluster", f.Host))
	}
	out := []Endpoint{}
	for _, e := range x.endpoints {
		if (f.Network == "" || e.Network == f.Network) && (f.Host == "" || e.Host == f.Host) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (x *index) status(now time.Time) Status {
	self := x.Snapshot.Self
	out := Status{
		Problems: x.problems(now), Warnings: x.warnings(),
		Version: x.Version, Commit: x.Commit, Started: x.Started, Host: self.Name,
		VTEP: address(self.VTEP), Port: self.Port, MTU: self.MTU, Cluster: x.Cluster, Goroutines: x.Goroutines,
		Store: x.Store, Docker: x.Docker, Passes: x.Passes, Skipped: list(x.Skipped), Keys: x.Keys, Fast: x.Fast, Direct: x.Direct,
		Counts: Counts{Networks: len(x.Snapshot.Networks), Endpoints: len(x.endpoints), EndpointsHere: len(x.Snapshot.Local), Hosts: len(x.hosts)},
	}
	out.Counts.Duplicates = len(x.duplicates())
	out.Healthy = len(out.Problems) == 0
	out.Direct.Hosts = list(out.Direct.Hosts)
	out.Docker.Conflicts, out.Keys.Waits = list(out.Docker.Conflicts), list(out.Keys.Waits)
	out.Passes.Errors, out.Passes.Failed = list(out.Passes.Errors), list(out.Passes.Failed)
	for _, h := range x.hosts {
		if h.Silent {
			out.Counts.HostsSilent++
		}
		switch h.State {
		case HostLive:
			out.Counts.HostsLive++
		case HostDown:
			out.Counts.HostsDown++
		case HostUnknown:
			out.Counts.HostsUnknown++
		}
	}
	for _, at := range x.Own {
		out.Counts.Stock += len(at.Stock)
	}
	return out
}

// list keeps null out of the JSON.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// address is a's text, and nothing for none.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

package metrics

import (
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dns"
	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/push"
	"github.com/weft-net/weft/ipam"
)

// Source gathers what the daemon knows at this moment.
type Source func() State

// State is everything that a scrape reads.
type State struct {
	control.State
	Pools  []ipam.Usage
	Behind time.Duration // see registry.Registry.Behind
	Names  *dns.Status   // nil: Docker alone answers names
	Push   push.Stats
}

// gauge describes one metric that is read at a scrape.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// Labels of a network, and of a pool.
var (
	ofNetwork = []string{"network", "network_id"}
	ofPool    = []string{"network", "network_id", "subnet"}
)

var (
	buildInfo = gauge("build_info", "1, with what this weft was built from.", "version", "commit", "go_version")

	problems   = gauge("problems", "What `weft status` shows as problems of this host.")
	duplicates = gauge("duplicate_addresses", "Addresses that two endpoints of the cluster use, as far as this host knows.")

	passedOver     = gauge("records_passed_over", "Records of the store that this host cannot use and passes over, by what is wrong with them.", "kind")
	storeReachable = gauge("store_reachable", "1 if the store answered when last asked, else 0.")
	watchBehind    = gauge("watch_behind_seconds", "For how long a write of this host's has been in the store without this host's watch showing it; 0 if there is none.")

	dockerConnected = gauge("docker_connected", "1 if Docker's API answers, so that networks are mirrored, else 0; absent without --docker.")
	conflicts       = gauge("docker_conflicts", "Networks of the cluster that this host's Docker cannot have.")

	lastPass   = gauge("last_pass_timestamp_seconds", "When the last pass ended, in Unix time; 0 before the first.")
	passErrors = gauge("pass_errors", "What the last pass could not bring to match the records.")

	hosts    = gauge("hosts", "Hosts of the cluster by state, this one included; unknown while the store does not answer.", "state")
	silent   = gauge("hosts_silent", "Hosts of the cluster that have not been heard directly for some seconds, so that their containers' names are withdrawn, unless their machines say that only weft does not run.")
	networks = gauge("networks", "Networks of the cluster by their state on this host, as `weft network ls` shows it.", "state")

	networkEndpoints = gauge("network_endpoints", "Endpoints of a network, here and elsewhere.", append(ofNetwork, "where")...)
	networkHosts     = gauge("network_hosts", "Hosts whose Docker has the network.", ofNetwork...)

	poolSize   = gauge("pool_size_addresses", "Addresses of a pool for containers that ask for any.", ofPool...)
	poolFree   = gauge("pool_free_addresses", "Addresses of a pool that no host has, as of the last look into the store some minutes ago.", ofPool...)
	poolUsed   = gauge("pool_used_addresses", "Addresses of a pool in use on this host.", ofPool...)
	poolStock  = gauge("pool_stock_addresses", "Addresses of a pool that this host has claimed ahead of use.", ofPool...)
	poolTarget = gauge("pool_stock_target_addresses", "How many addresses of a pool this host wants in stock; few or none if the pool is nearly used up.", ofPool...)
	poolLost   = gauge("pool_lost_addresses", "Addresses of a pool in use on this host that are another host's.", ofPool...)

	datagrams = gauge("push_datagrams_total", "Datagrams between this host and others that tell what has changed: sent, received, of the received those refused, of the sent those that failed.", "what")
	fetches   = gauge("push_fetches_total", "Questions to other hosts for what had not come by datagram.", "result")

	keyGeneration = gauge("push_key_generation", "How often the key by which hosts seal what they tell each other directly was changed.")
	keyCount      = gauge("push_keys", "Keys by which hosts seal what they tell each other directly: more than one while some host has not taken over the newest.")

	fastOpen    = gauge("fast_path_open", "1 while packets may go around bridge, tunnel and netfilter.")
	fastPackets = gauge("fast_path_packets_total", "Packets that went around bridge, tunnel and netfilter; several that the kernel handles as one count once.", "way")

	directHosts = gauge("direct_hosts", "Other hosts with containers in networks of this host's containers by how packets go there: direct, without a tunnel; tunnel; or both, by network.", "way")

	dnsSandboxes = gauge("dns_sandboxes", "Containers' network namespaces on this host by whether weft answers names there; in silent ones Docker alone does.", "state")
)

// scrape is a prometheus.Collector of everything that source gives.
type scrape struct{ source Source }

// Describe implements prometheus.Collector.
func (s scrape) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		buildInfo, problems, duplicates, passedOver, storeReachable, watchBehind, dockerConnected, conflicts, lastPass, passErrors,
		hosts, silent, networks, networkEndpoints, networkHosts, datagrams, fetches, keyGeneration, keyCount,
		fastOpen, fastPackets, directHosts,
		poolSize, poolFree, poolUsed, poolStock, poolTarget, poolLost, dnsSandboxes,
	} {
		out <- d
	}
}

// sink takes the values of one scrape.
type sink chan<- prometheus.Metric

// set adds one value.
func (out sink) set(d *prometheus.Desc, value float64, labels ...string) {
	out.add(prometheus.GaugeValue, d, value, labels)
}

// count adds one count since the start.
func (out sink) count(d *prometheus.Desc, n uint64, labels ...string) {
	out.add(prometheus.CounterValue, d, float64(n), labels)
}

// add adds one value. What is no UTF-8 in a label is replaced.
func (out sink) add(kind prometheus.ValueType, d *prometheus.Desc, value float64, labels []string) {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "?")
	}
	m, err := prometheus.NewConstMetric(d, kind, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	out <- m
}

// Collect implements prometheus.Collector.
func (s scrape) Collect(c chan<- prometheus.Metric) {
	state, out := s.source(), sink(c)
	status, nets := control.Summary(state.State, time.Now())
	out.set(buildInfo, 1, state.Version, state.Commit, runtime.Version())
	out.set(problems, float64(len(status.Problems)))
	out.set(duplicates, float64(status.Counts.Duplicates))
	kinds := map[format.Kind]int{}
	for _, r := range status.Skipped {
		kinds[r.Kind]++
	}
	for _, kind := range format.Kinds {
		out.set(passedOver, float64(kinds[kind]), string(kind))
	}
	out.set(storeReachable, truth(status.Store.Reachable))
	out.set(watchBehind, state.Behind.Seconds())
	if status.Docker.Mirroring {
		out.set(dockerConnected, truth(status.Docker.Connected))
	}
	out.set(conflicts, float64(len(status.Docker.Conflicts)))
	out.set(lastPass, unix(status.Passes.Last))
	out.set(passErrors, float64(len(status.Passes.Errors)))
	out.set(hosts, float64(status.Counts.HostsLive), string(control.HostLive))
	out.set(hosts, float64(status.Counts.HostsDown), string(control.HostDown))
	out.set(hosts, float64(status.Counts.HostsUnknown), string(control.HostUnknown))
	out.set(silent, float64(status.Counts.HostsSilent))
	out.push(state.Push)
	out.set(keyGeneration, float64(status.Keys.Generation))
	out.set(keyCount, float64(status.Keys.Count))
	out.set(fastOpen, truth(status.Fast.Open))
	out.count(fastPackets, status.Fast.Sent, "sent")
	out.count(fastPackets, status.Fast.Received, "received")
	out.count(fastPackets, status.Fast.Local, "local")
	out.count(fastPackets, status.Fast.SentDirect, "sent_direct")
	out.count(fastPackets, status.Fast.ReceivedDirect, "received_direct")
	out.direct(status.Direct)
	out.networks(state.State, nets)
	out.pools(state.Pools)
	if state.Names != nil {
		out.set(dnsSandboxes, float64(state.Names.Answering), "answering")
		out.set(dnsSandboxes, float64(state.Names.Sandboxes-state.Names.Answering), "silent")
	}
}

// networks shows each network, and how many there are in each state.
func (out sink) networks(state control.State, nets []control.Network) {
	here := map[string]int{}
	for _, e := range state.Snapshot.Local {
		here[e.Network]++
	}
	states := map[control.NetworkState]int{
		control.NetworkRemoving: 0, control.NetworkConflict: 0, control.NetworkFailed: 0,
		control.NetworkUnnamed: 0, control.NetworkRemote: 0, control.NetworkNarrow: 0, control.NetworkOK: 0,
	}
	for _, n := range nets {
		states[n.State]++
		out.set(networkEndpoints, float64(here[n.ID]), n.Name, n.ID, "here")
		out.set(networkEndpoints, float64(n.Endpoints-here[n.ID]), n.Name, n.ID, "elsewhere")
		out.set(networkHosts, float64(n.Hosts), n.Name, n.ID)
	}
	for s, n := range states {
		out.set(networks, float64(n), string(s))
	}
}

// push shows how many direct messages hosts have sent each other.
func (out sink) push(s push.Stats) {
	out.count(datagrams, s.Sent, "sent")
	out.count(datagrams, s.Received, "received")
	out.count(datagrams, s.Refused, "refused")
	out.count(datagrams, s.Failed, "failed")
	out.count(fetches, s.Fetches-s.FetchesFailed, resultOK)
	out.count(fetches, s.FetchesFailed, resultError)
}

// pools shows each pool that this host's Docker has.
func (out sink) pools(pools []ipam.Usage) {
	for _, p := range pools {
		set := func(d *prometheus.Desc, n float64) { out.set(d, n, p.Name, p.Network, p.Subnet.String()) }
		set(poolSize, float64(p.Size))
		set(poolFree, float64(p.Free))
		set(poolUsed, float64(p.Used))
		set(poolStock, float64(p.Stock))
		set(poolTarget, float64(p.Target))
		set(poolLost, float64(p.Lost))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unix is a time in seconds since 1970, and 0 for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / float64(time.Second)
}

// direct counts the hosts by how packets go there.
func (out sink) direct(d control.Direct) {
	ways := map[string]int{"direct": 0, "tunnel": 0, "both": 0}
	for _, h := range d.Hosts {
		switch tunnel := len(h.Probing) + len(h.Tunnel); {
		case tunnel == 0:
			ways["direct"]++
		case len(h.Direct) == 0:
			ways["tunnel"]++
		default:
			ways["both"]++
		}
	}
	for way, n := range ways {
		out.set(directHosts, float64(n), way)
	}
}

package doctor

import (
	"cmp"
	"context"
	"net/netip"
	"sync"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/dataplane/firewall"
	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/probe"
	"github.com/weft-net/weft/kvstore/consul"
)

// Host is what the checks look at.
type Host struct {
	Config Config
	// State is what the daemon knows. Without a daemon it is nil, and checks that need
	// it are not made.
	State func() control.State
	// Paths has the hosts probe the paths between them; nil without a daemon.
	Paths func(ctx context.Context) ([]probe.Path, error)
	// NoDaemon is why no daemon answers; nil if the daemon makes the checks.
	NoDaemon error
	// Kernel is this host's; *dataplane.Inspector is one.
	Kernel Kernel
	// Docker asks who answers at Docker's API.
	Docker func(ctx context.Context, at string) (engine.Versions, error)
	// Store examines the cluster's store; nil: it is a file of this host's.
	Store func(ctx context.Context) (consul.Health, error)
	// Sysctl reads one of the kernel's settings, as in "net.ipv4.ip_forward".
	Sysctl func(name string) (string, error)

	running sync.WaitGroup // the checks

	storeOnce   sync.Once // guards what was found out about the store
	storeHealth consul.Health
	storeErr    error
}

// Kernel is what checks ask of the kernel.
type Kernel interface {
	InterfaceOf(addr netip.Addr) (dataplane.Interface, bool, error)
	InterfaceTo(addr netip.Addr) (string, error)
	Routes() ([]dataplane.Route, error)
	Marked() (dataplane.Marked, error)
	Lacks(ctx context.Context) ([]dataplane.Lack, error)
	TryPort(ctx context.Context, local netip.Addr, port uint16) error
	UDPSockets(port uint16) ([]dataplane.Socket, error)
	ForeignTunnels(port uint16) ([]dataplane.ForeignTunnel, error)
	HookedAt(link string) ([]dataplane.Hooked, error)
	Drops(ctx context.Context, packets []firewall.Packet) ([]*firewall.Drop, error)
}

// Config is what `weft serve` was told, as far as checks need it.
type Config struct {
	Host     string // this host's name in the cluster
	Store    string // as in --store
	Prefix   string // of the keys in Consul; "": the store is a file
	Port     uint16 // UDP port of the tunnels
	PushPort uint16 // 0: none
	MTU      int    // bytes, of the underlay; 0: the interface's
	StateDir string
	Docker   string // Docker's API, unix:///PATH; "": not used
}

// state is what the daemon knows, or why a check cannot be made.
func (h *Host) state() (control.State, error) {
	if h.State == nil {
		return control.State{}, NotMade("it needs the daemon, which does not answer")
	}
	return h.State(), nil
}

// Wait waits for the checks that Examine gave up on. Close what the Host uses only
// after it.
func (h *Host) Wait() { h.running.Wait() }

// self names the host in a sentence.
func (h *Host) self() string { return "host " + cmp.Or(h.Config.Host, "this one") }

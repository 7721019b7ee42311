package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore/consul"
)

// config is what `weft serve` is told. Every flag has an environment variable:
// WEFT_ and the flag's name in capitals, '-' as '_'. A flag wins.
type config struct {
	Store     string
	Advertise string
	Host      string
	MachineID string
	Adopt     string
	Name      string
	PluginDir string
	Socket    string
	Docker    string
	StateDir  string
	Control   string
	Pools     []string
	Stock     int
	FastPath  string
	Port      uint16
	PushPort  uint16
	MTU       int
	Reap      time.Duration
	Metrics   string
	LogLevel  string
	LogFormat string

	bolt   string   // path of the embedded store; "": Store is Consul's
	consul []string // addresses, host:port
	prefix string   // of the keys in Consul
	pools  []space.Auto
	level  logrus.Level
}

const (
	defaultStore   = "bolt:///var/lib/weft/weft.db"
	defaultPool    = "10.128.0.0/10:24"
	defaultPort    = 4789 // IANA's for VXLAN (RFC 7348 section 5)
	defaultPush    = 7947 // IANA gave it to nobody; 7946 is Swarm's gossip, and a host may be in both
	defaultReap    = 10 * time.Minute
	minReap        = 30 * time.Second
	defaultControl = "/run/weft/weft.sock"
)

// flags declares every flag of `weft serve` on f.
func (c *config) flags(f *pflag.FlagSet) {
	f.StringVar(&c.Store, "store", defaultStore, "where the cluster's records are: consul://HOST:8500[,HOST:8500…][/PREFIX], or bolt:///PATH for one host alone")
	f.StringVar(&c.Advertise, "advertise", "", "address or interface by which other hosts reach this one (default: the interface of the route to the store, else of the default route)")
	f.StringVar(&c.Host, "host", "", "this host's name in the cluster (default: the one that it has there, at first the machine's)")
	f.StringVar(&c.MachineID, "machine-id", "", "file by which this machine is known, as /etc/machine-id, for several hosts on one machine (default: that file, and the firmware's UUID)")
	f.StringVar(&c.Adopt, "adopt", "", "take the place of another machine that does not come back, by the id that weft shows when it refuses that machine's state or name")
	f.StringVar(&c.Name, "name", "weft", "name by which Docker knows the driver; that of a managed plugin has a tag, as in weft:latest")
	f.StringVar(&c.PluginDir, "plugin-dir", "/run/docker/plugins", "directory in which Docker looks for plugin sockets")
	f.StringVar(&c.Socket, "socket", "", "path of the socket for Docker's calls (default: NAME.sock in the plugin directory)")
	f.StringVar(&c.Docker, "docker", "unix:///var/run/docker.sock", "Docker's API, to mirror networks; empty for none")
	f.StringVar(&c.StateDir, "state-dir", "/var/lib/weft", "directory of this host's durable state")
	f.StringArrayVar(&c.Pools, "pool", []string{defaultPool}, "CIDR:SIZE from which networks without --subnet get one of length SIZE; may be repeated")
	f.IntVar(&c.Stock, "stock", stock.Default, "addresses to keep claimed ahead in each subnet, for starts while the store is away; fewer in a subnet that is small, or of which little is free; 0 for none: every start then waits for the store")
	f.Uint16Var(&c.Port, "vxlan-port", defaultPort, "UDP port of the tunnels; the same on every host")
	f.Uint16Var(&c.PushPort, "push-port", defaultPush, "port, UDP and TCP, on which other hosts tell this one directly what has changed; 0 for none: changes then come through the store alone")
	f.IntVar(&c.MTU, "mtu", 0, "MTU of the underlay in bytes (default: that of the interface, and of the routes to the other hosts)")
	f.DurationVar(&c.Reap, "reap", defaultReap, "time after which the addresses of a host that is dead are free for others; 0 for never")
	f.StringVar(&c.FastPath, "fast-path", string(dataplane.FastAuto), "auto, on or off: whether packets between containers may go around bridge, tunnel and netfilter by programs in the kernel; auto where the kernel can, and with on weft does not start where it cannot")
	f.StringVar(&c.Metrics, "metrics", "", "address HOST:PORT on which to serve metrics (default: none); containers can read them on 0.0.0.0, on :: and without a host")
	f.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.LogFormat, "log-format", "text", "text or json")
}

// fromEnvironment sets the flags that the command line leaves out. An empty variable
// counts as unset, so that `docker plugin set` can unset one; only for Docker's API
// empty is a value. Several values are separated by commas or blanks.
func fromEnvironment(f *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	f.VisitAll(func(flag *pflag.Flag) {
		name := variable(flag.Name)
		value, ok := lookup(name)
		if !ok || flag.Changed || value == "" && flag.Name != "docker" {
			return
		}
		set := func() error { return f.Set(flag.Name, value) }
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			set = func() error {
				return list.Replace(strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }))
			}
		}
		if err := set(); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q is refused: %w", name, value, err))
		}
	})
	return errors.Join(errs...)
}

// validate parses what the flags say. It touches nothing.
func (c *config) validate() error {
	if err := c.parseStore(); err != nil {
		return err
	}
	if c.Host != "" && !overlay.ValidID(c.Host) {
		return fmt.Errorf("--host %q is refused: it takes 1 to 63 letters, digits, '_', '.' or '-'", c.Host)
	}
	if err := c.checkName(); err != nil {
		return err
	}
	if c.MTU != 0 && (c.MTU < overlay.MinMTU || c.MTU > 65535) {
		return fmt.Errorf("--mtu %d is refused: it takes %d to 65535 bytes", c.MTU, overlay.MinMTU)
	}
	if c.Reap != 0 && c.Reap < minReap {
		return fmt.Errorf("--reap %s is refused: a host's lease alone takes 20 s to run out; it takes %s or more, or 0 for never", c.Reap, minReap)
	}
	if c.Stock < 0 || c.Stock > stock.Max {
		return fmt.Errorf("--stock %d is refused: it takes 0 to %d addresses", c.Stock, stock.Max)
	}
	if c.Port == 0 {
		return errors.New("--vxlan-port 0 is refused: it takes 1 to 65535")
	}
	if c.PushPort == c.Port {
		return fmt.Errorf("--push-port %d is refused: it is the port of the tunnels, see --vxlan-port", c.PushPort)
	}
	for _, text := range c.Pools {
		pool, err := parsePool(text)
		if err != nil {
			return err
		}
		c.pools = append(c.pools, pool)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("--log-format %q is refused: it takes text or json", c.LogFormat)
	}
	var err error
	if c.level, err = parseLevel(c.LogLevel); err != nil {
		return fmt.Errorf("--log-level %w", err)
	}
	switch dataplane.FastPath(c.FastPath) {
	case dataplane.FastAuto, dataplane.FastOn, dataplane.FastOff:
	default:
		return fmt.Errorf("--fast-path %q is refused: it takes auto, on or off", c.FastPath)
	}
	if err := c.checkMetrics(); err != nil {
		return err
	}
	return c.checkDocker()
}

// checkMetrics checks where metrics are to be served. An address without a host means
// all of this host's addresses.
func (c *config) checkMetrics() error {
	if c.Metrics == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Metrics)
	number, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || number == 0 || strings.ContainsAny(host, "/@ ") {
		return fmt.Errorf("--metrics %q is refused: it takes HOST:PORT, like 127.0.0.1:9477 or :9477", c.Metrics)
	}
	return nil
}

// reference is what Docker may call a managed plugin: [REGISTRY/]PATH:TAG.
var reference = regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]{0,190}:[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)

// checkName checks how Docker finds the driver.
func (c *config) checkName() error {
	switch {
	case overlay.ValidID(c.Name):
	case !reference.MatchString(c.Name):
		return fmt.Errorf("--name %q is refused: it takes 1 to 63 letters, digits, '_', '.' or '-', or a managed plugin's name and tag", c.Name)
	case c.Socket == "":
		return fmt.Errorf("--name %q is refused: it is the name of a managed plugin, which needs the path in its config.json with --socket", c.Name)
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(c.PluginDir, c.Name+".sock")
	}
	if !filepath.IsAbs(c.Socket) {
		return fmt.Errorf("--socket %q is refused: it takes an absolute path", c.Socket)
	}
	return nil
}

func (c *config) parseStore() error {
	scheme, rest, _ := strings.Cut(c.Store, "://")
	switch scheme {
	case "consul":
		addresses, prefix, err := consul.ParseURL(c.Store)
		if err != nil {
			return fmt.Errorf("--store is refused: %w", err)
		}
		c.consul, c.prefix = addresses, prefix
		return nil
	case "bolt":
		if !strings.HasPrefix(rest, "/") {
			return fmt.Errorf("--store %q is refused: bolt takes an absolute path, like bolt:///var/lib/weft/weft.db", c.Store)
		}
		c.bolt = rest
		return nil
	}
	return fmt.Errorf("--store %q is refused: it takes consul://HOST:8500[,HOST:8500…][/PREFIX] or bolt:///PATH", c.Store)
}

func (c *config) checkDocker() error {
	if c.Docker == "" {
		return nil
	}
	u, err := url.Parse(c.Docker)
	if err != nil || u.Scheme != "unix" || cmp.Or(u.Path, u.Opaque) == "" {
		return fmt.Errorf("--docker %q is refused: it takes unix:///PATH, or nothing to mirror no networks", c.Docker)
	}
	return nil
}

// push is where this host hears direct messages; invalid: nowhere. A host with a store
// of its own has no peers.
func (c *config) push(vtep netip.Addr) netip.AddrPort {
	if c.PushPort == 0 || c.bolt != "" {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(vtep, c.PushPort)
}

// parsePool reads CIDR:SIZE.
func parsePool(text string) (space.Auto, error) {
	refuse := func(why string) (space.Auto, error) {
		return space.Auto{}, fmt.Errorf("--pool %q is refused: %s; it takes CIDR:SIZE, like %s", text, why, defaultPool)
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return refuse("it has no size")
	}
	base, err := netip.ParsePrefix(text[:i])
	if err != nil {
		return refuse("its range is no prefix")
	}
	if base != base.Masked() {
		return refuse(fmt.Sprintf("its range has host bits, %s was meant", base.Masked()))
	}
	bits, err := strconv.Atoi(text[i+1:])
	if err != nil || bits < base.Bits() || bits > base.Addr().BitLen()-2 {
		return refuse("its size is no prefix length inside the range")
	}
	return space.Auto{Base: base, Bits: bits}, nil
}

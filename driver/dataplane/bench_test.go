package dataplane_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// BenchmarkNetworkAdd makes a network with one guarded endpoint.
func BenchmarkNetworkAdd(b *testing.B) {
	h := newHosts(b, 1)[0]
	i := 0
	for b.Loop() {
		i++
		id := fmt.Sprintf("n%05d", i)
		p := port(id, "c", "10.0.0.1/24")
		h.cfg.Networks = append(h.cfg.Networks, overlay.NetworkConfig{ID: id, VNI: uint32(4096 + i), MTU: 1450, Guarded: true, Ports: []overlay.Port{p}})
		h.set()
	}
}

// BenchmarkEndpointAdd adds an endpoint to a network.
func BenchmarkEndpointAdd(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		b.Run(fmt.Sprintf("guarded=%t", guarded), func(b *testing.B) {
			h := newHosts(b, 1)[0]
			h.cfg.Networks = []overlay.NetworkConfig{{ID: "n", VNI: 4097, MTU: 1450, Guarded: guarded}}
			h.set()
			i := 0
			for b.Loop() {
				i++
				n := &h.cfg.Networks[0]
				n.Ports = append(slices.Clone(n.Ports), port("n", fmt.Sprint(i), fmt.Sprintf("10.0.%d.%d/16", i/256, i%256)))
				h.set()
			}
		})
	}
}

func manyRemotes(count int) []overlay.Remote {
	out := make([]overlay.Remote, 0, count)
	for i := range count {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		out = append(out, overlay.Remote{MAC: overlay.MACOf("n", a), VTEP: vtep(2 + i%200), Addrs: []netip.Addr{a}})
	}
	slices.SortFunc(out, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	return out
}

// BenchmarkRemotes programs 10,000 remotes into an empty network, adds one to
// them, and reads them all back.
func BenchmarkRemotes(b *testing.B) {
	const count = 10_000
	remotes := manyRemotes(count + 1)
	network := func(count int) []overlay.NetworkConfig {
		return []overlay.NetworkConfig{{ID: "n", VNI: 4097, MTU: 1450, Guarded: true, Remotes: remotes[:count]}}
	}
	b.Run("10000", func(b *testing.B) {
		h := newHosts(b, 1)[0]
		for b.Loop() {
			b.StopTimer()
			h.cfg.Networks = network(0)
			h.set()
			h.cfg.Networks = network(count)
			b.StartTimer()
			h.set()
		}
	})
	b.Run("one more", func(b *testing.B) {
		h := newHosts(b, 1)[0]
		i := 0
		for b.Loop() {
			h.cfg.Networks = network(count + i%2)
			h.set()
			i++
		}
	})
	b.Run("verify", func(b *testing.B) {
		h := newHosts(b, 1)[0]
		h.cfg.Networks = network(count)
		h.set()
		for b.Loop() {
			h.verify()
		}
	})
}

// BenchmarkRoundTrip is a TCP ping-pong of one byte between containers on two
// hosts, all on one CPU, so that it measures the work of a packet's way.
func BenchmarkRoundTrip(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		b.Run(fmt.Sprintf("guarded=%t", guarded), func(b *testing.B) {
			c := spread(b, newHosts(b, 2), guarded)
			var all, one unix.CPUSet
			if err := unix.SchedGetaffinity(0, &all); err != nil {
				b.Fatal(err)
			}
			one.Set(0)
			pin := func() {
				runtime.LockOSThread()
				if err := unix.SchedSetaffinity(0, &one); err != nil {
					b.Error(err)
				}
			}
			var l net.Listener
			c[1].ns.Do(func() (err error) {
				l, err = net.Listen("tcp", "10.9.0.2:7000")
				return err
			})
			defer l.Close()
			raw := func(conn net.Conn) int {
				f, err := conn.(*net.TCPConn).File() // blocking, without Go's poller
				if err != nil {
					b.Error(err)
					return -1
				}
				runtime.SetFinalizer(f, nil)
				fd := int(f.Fd())
				if err := unix.SetNonblock(fd, false); err != nil {
					b.Error(err)
				}
				return fd
			}
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				fd := raw(conn)
				defer unix.Close(fd)
				pin()
				buf := make([]byte, 1)
				for {
					if n, err := unix.Read(fd, buf); n != 1 || err != nil {
						return
					}
					if _, err := unix.Write(fd, buf); err != nil {
						return
					}
				}
			}()
			var conn net.Conn
			c[0].ns.Do(func() (err error) {
				conn, err = net.Dial("tcp", "10.9.0.2:7000")
				return err
			})
			fd := raw(conn)
			conn.Close()
			defer unix.Close(fd)
			defer func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR) }()
			pin()
			defer func() {
				_ = unix.SchedSetaffinity(0, &all)
				runtime.UnlockOSThread()
			}()
			buf := make([]byte, 1)
			for b.Loop() {
				if _, err := unix.Write(fd, buf); err != nil {
					b.Fatal(err)
				}
				if n, err := unix.Read(fd, buf); n != 1 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// slab gives the kernel's memory for objects that it cannot give back, in KiB.
func slab(b *testing.B) (kib float64) {
	b.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "SUnreclaim: %f kB", &kib); err == nil {
			return kib
		}
	}
	b.Fatal("/proc/meminfo has no SUnreclaim")
	return 0
}

// BenchmarkGuard is the host's table of many hosts and networks: made anew, and
// changed by one member.
func BenchmarkGuard(b *testing.B) {
	for _, size := range [][2]int{{10, 10}, {100, 50}, {1000, 200}} {
		hosts, networks := size[0], size[1]
		h := newHosts(b, 1)[0]
		fill := func(members int) {
			h.cfg.Networks = nil
			for n := range networks {
				c := overlay.NetworkConfig{ID: fmt.Sprintf("n%03d", n), VNI: uint32(6000 + n), MTU: 1450, Guarded: true}
				for i := range members {
					c.Members = append(c.Members, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
				}
				h.cfg.Networks = append(h.cfg.Networks, c)
			}
		}
		fill(hosts)
		h.set()
		b.Run(fmt.Sprintf("hosts=%d/networks=%d/made", hosts, networks), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				must(b, h.ns, "nft", "flush", "ruleset")
				before := slab(b)
				b.StartTimer()
				if err := h.dp.MendGuard(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				b.ReportMetric(slab(b)-before, "kernel-KiB")
				b.StartTimer()
			}
		})
		members := h.cfg.Networks[0].Members
		b.Run(fmt.Sprintf("hosts=%d/networks=%d/a-member-more-or-less", hosts, networks), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				h.cfg.Networks[0].Members = members[:len(members)-i%2]
				h.set()
			}
		})
		b.Run(fmt.Sprintf("hosts=%d/networks=%d/read-back", hosts, networks), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				must(b, h.ns, "nft", "add table inet x; delete table inet x") // another generation
				b.StartTimer()
				if err := h.dp.MendGuard(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("hosts=%d/networks=%d/unchanged", hosts, networks), func(b *testing.B) {
			for b.Loop() {
				if err := h.dp.MendGuard(); err != nil {
					b.Fatal(err)
				}
			}
		})
		h.cfg.Networks = nil
		h.set()
	}
}

// BenchmarkPortsAtOnce is a first pass over a network with many endpoints.
func BenchmarkPortsAtOnce(b *testing.B) {
	h := newHosts(b, 1)[0]
	c := overlay.NetworkConfig{ID: "net1", VNI: 6000, MTU: 1450, Guarded: true}
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i + 1)})
		c.Ports = append(c.Ports, port("net1", fmt.Sprint("c", i), netip.PrefixFrom(a, 16).String()))
	}
	slices.SortFunc(c.Ports, func(a, b overlay.Port) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	for b.Loop() {
		h.cfg.Networks = []overlay.NetworkConfig{c}
		h.set()
		b.StopTimer()
		h.cfg.Networks = nil
		h.set()
		b.StartTimer()
	}
}

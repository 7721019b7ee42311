package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
)

var kernelFaults = []fault{
	{
		check: "sysctl", how: "net.ipv4.ip_local_port_range begins at 1024", says: []string{"4789", "7947"},
		breaks: commands("h1", `sysctl -w net.ipv4.ip_local_port_range="1024 60999"`, `sysctl -w net.ipv4.ip_local_port_range="32768 60999"`),
	},
	{
		check: "vxlan-port", how: "a program has UDP port 4789", says: []string{"doctor.test (process"},
		breaks: alone(taker("h1", ":4789")),
	},
	{
		check: "vxlan-port", how: "another VXLAN device has it, and shares it with none", says: []string{"taker"},
		breaks: alone(commands("h1", "ip link add taker type vxlan external dstport 4789 && ip link set taker up", "ip link del taker")),
	},
	{
		check: "vxlan-port", how: "another VXLAN device has a network's VNI", says: []string{"taker", demo},
		breaks: alone(func(t *testing.T) func() {
			return commands("h1", fmt.Sprintf("ip link add taker type vxlan id %d dstport 4789 local %s && ip link set taker up", network(t).VNI, cluster.Host("h1").Addr()), "ip link del taker")(t)
		}),
	},
	{
		check: "underlay", how: "--mtu 9000 on a link of 1500", says: []string{"9000", "1500"},
		breaks: restarted("h1", nil, "--mtu=9000"),
	},
	{
		check: "routes", how: "the host routes a part of the network's subnet", says: []string{demo, "/26", "eth0"},
		breaks: func(t *testing.T) func() {
			part := netip.PrefixFrom(network(t).Subnets[0].Addr(), 26)
			return commands("h1", fmt.Sprintf("ip route add %s via 198.51.100.1", part), fmt.Sprintf("ip route del %s", part))(t)
		},
	},
	{
		check: "leftovers", how: "a link with a name of weft's that leads into no network of weft's", says: []string{"link wc0123456789ab"},
		breaks: commands("h1", "ip link add wc0123456789ab type veth peer name stale", "ip link del wc0123456789ab"),
	},
	{
		check: "passes", how: "the network's namespace is gone, and a directory in its place", says: []string{"namespace"},
		breaks: func(t *testing.T) func() {
			path := "/run/netns/weft-" + network(t).ID
			sh(t, "h1", fmt.Sprintf("umount -l %[1]s && rm -f %[1]s && mkdir %[1]s", path))
			return func() { sh(t, "h1", "rmdir "+path) }
		},
	},
	{
		check: "fast-path", how: "a filter of tc looks at what comes in by the underlay's interface", says: []string{"is closed", "eth0", "a filter of kind u32"},
		breaks: commands("h1", "tc qdisc add dev eth0 clsact && tc filter add dev eth0 ingress protocol ip u32 match u32 0 0 classid 1:1", "tc qdisc del dev eth0 clsact"),
	},
}

// alone breaks while h1 has no container in the network, and thus no tunnel.
func alone(breaks func(t *testing.T) func()) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		docker(t, "h1", "rm", "-f", "box")
		eventually(t, 10*time.Second, "h1 has no tunnel", func() error {
			if sockets := sh(t, "h1", "cat /proc/net/udp"); strings.Contains(sockets, ":12B5 ") { // 4789
				return errors.New(sockets)
			}
			return nil
		})
		mend := breaks(t)
		return func() {
			mend()
			box(t, "h1")
		}
	}
}

// taker breaks by having the UDP address on the host.
func taker(host, addr string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		cmd := cluster.Host(host).Command(context.WithoutCancel(t.Context()), os.Args[0])
		cmd.Env = append(cmd.Environ(), takes+"="+addr)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = out.Read(make([]byte, 1)) // it has the address
		}
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}

// takes is the variable that makes this program have a UDP address and wait.
const takes = "DOCTOR_TEST_TAKES"

// take has the address until it is killed.
func take(addr string) int {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("taken")
	for {
		if _, _, err := conn.ReadFrom(make([]byte, 1)); err != nil {
			return 1
		}
	}
}

// network is the one that the containers are in.
func network(t *testing.T) control.Network {
	t.Helper()
	for _, n := range ask[[]control.Network](t, "h1", "network", "ls") {
		if n.Name == demo {
			return n
		}
	}
	t.Fatalf("h1 does not know network %s", demo)
	return control.Network{}
}

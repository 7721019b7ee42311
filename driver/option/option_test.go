package option

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

func network(subnets ...string) overlay.Network {
	var n overlay.Network
	for _, s := range subnets {
		n.Subnets = append(n.Subnets, overlay.Subnet{Prefix: netip.MustParsePrefix(s)})
	}
	return n
}

func TestWhatBecomesOfEachOption(t *testing.T) {
	const bridge, docker, windows = "com.docker.network.bridge.", "com.docker.network.", "com.docker.network.windowsshim."
	four, dual := network("10.1.0.0/24"), network("10.1.0.0/24", "fd00::/64")
	inside := overlay.Network{Internal: true}
	for _, tt := range []struct {
		key, value string
		n          overlay.Network
		want       Verdict
	}{
		{"encrypted", "", four, Broken},
		{"encrypted", "true", four, Broken},
		{"encrypted", "1", four, Broken},
		{"encrypted", "yes", four, Broken},
		{"encrypted", "false", four, Kept},
		{"encrypted", "0", four, Kept},
		{"weft.encrypted", "", four, Broken},
		{"weft.encrypted", "true", four, Broken},
		{"weft.encrypted", "false", four, Kept},
		{"weft.port_isolation", "false", four, Kept},
		{"weft.path", "tunnel", four, Kept},
		{MTU, "1400", four, Kept},
		{VNIList, "77", four, Kept},
		{InterfacePrefix, "lan", four, Kept},
		{InterfacePrefix, "", four, Broken},
		{InterfacePrefix, "a/b", four, Broken},
		{InterfacePrefix, "abcdefghijklm", four, Broken},
		{docker + "enable_ipv4", "true", four, Kept},
		{docker + "enable_ipv4", "false", four, Broken},
		{docker + "enable_ipv4", "false", network("fd00::/64"), Kept},
		{docker + "enable_ipv6", "true", four, Broken},
		{docker + "enable_ipv6", "true", dual, Kept},
		{docker + "enable_ipv6", "false", four, Kept},
		{docker + "internal", "true", four, Broken},
		{docker + "internal", "true", inside, Kept},
		{docker + "advertise_addr_nmsgs", "3", four, Kept},
		{docker + "advertise_addr_ms", "100", four, Kept},
		{docker + "host_ipv4", "192.0.2.1", four, Broken},
		{docker + "host_ipv6", "2001:db8::1", four, Broken},
		{bridge + "enable_icc", "false", four, Broken},
		{bridge + "enable_icc", "no", four, Broken},
		{bridge + "enable_icc", "true", four, Kept},
		{bridge + "enable_ip_masquerade", "false", four, Broken},
		{bridge + "enable_ip_masquerade", "false", inside, Kept},
		{bridge + "enable_ip_masquerade", "true", four, Kept},
		{bridge + "host_binding_ipv4", "127.0.0.1", four, Broken},
		{bridge + "host_binding_ipv4", "0.0.0.0", four, Kept},
		{bridge + "gateway_mode_ipv4", "routed", four, Broken},
		{bridge + "gateway_mode_ipv4", "nat-unprotected", four, Broken},
		{bridge + "gateway_mode_ipv4", "isolated", inside, Kept},
		{bridge + "gateway_mode_ipv4", "nat", four, Kept},
		{bridge + "gateway_mode_ipv6", "routed", dual, Broken},
		{bridge + "trusted_host_interfaces", "eth1", four, Broken},
		{bridge + "inhibit_ipv4", "true", four, Ignored},
		{bridge + "name", "br-shop", four, Ignored},
		{bridge + "default_bridge", "true", four, Ignored},
		{docker + "driver.overlay.bind_interface", "eth1", four, Broken},
		{docker + "driver.overlay.neighbor_ip", "192.0.2.1", four, Ignored},
		{"parent", "eth0", four, Broken},
		{"macvlan_mode", "private", four, Broken},
		{"ipvlan_mode", "l3", four, Broken},
		{"ipvlan_flag", "private", four, Broken},
		{windows + "disableicc", "true", four, Broken},
		{windows + "vlanid", "7", four, Broken},
		{windows + "dnsservers", "192.0.2.53", four, Broken},
		{windows + "networkname", "x", four, Ignored},
		{docker + "of_tomorrow", "x", four, Ignored},
		{"foo", "bar", four, Ignored},
	} {
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			got := Judge(tt.key, tt.value, tt.n)
			if got.Verdict != tt.want {
				t.Errorf("is %s, want %s", got.Verdict, tt.want)
			}
			if (got.Why == "") != (got.Verdict == Kept) {
				t.Errorf("%s because %q", got.Verdict, got.Why)
			}
			if got.Verdict == Broken && !strings.Contains(got.Why, "; ") && !strings.HasPrefix(got.Why, "it takes") {
				t.Errorf("%q does not say what to do", got.Why)
			}
		})
	}
}

func TestOptionsOfOneVerdictInOrder(t *testing.T) {
	n := overlay.Network{Options: map[string]string{"parent": "eth0", "encrypted": "", "foo": "bar", MTU: "1400"}}
	var keys []string
	for _, j := range Those(n, Broken) {
		keys = append(keys, j.Key)
	}
	if want := []string{"encrypted", "parent"}; !slices.Equal(keys, want) {
		t.Errorf("broken: %q, want %q", keys, want)
	}
}

func TestTheNamesOfInterfaces(t *testing.T) {
	for value, want := range map[string]string{"": "eth", "lan": "lan", "a/b": "eth", "abcdefghijkl": "abcdefghijkl", "abcdefghijklm": "eth"} {
		if got := PrefixOf(overlay.Network{Options: map[string]string{InterfacePrefix: value}}); got != want {
			t.Errorf("%q gives %q, want %q", value, got, want)
		}
	}
}

// People look an option up before they use it.
func TestEveryOptionIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/options.md")
	if err != nil {
		t.Fatal(err)
	}
	for key := range rules {
		if !strings.Contains(string(text), fmt.Sprintf("`%s`", key)) {
			t.Errorf("docs/options.md lacks %s", key)
		}
	}
}

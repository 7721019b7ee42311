package recovery

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// What a crashed weft may have left, 1,000 pieces, goes when weft starts; what
// is somebody else's stays, and containers do not notice.
func TestLeftovers(t *testing.T) {
	n := network(t)
	a, b := container(t, "h1", n, "a"), container(t, "h2", n, "b")
	h1 := cluster.Host("h1")
	stop := a.pings(b)
	if err := h1.Kill(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	var batch strings.Builder
	for i := range 500 {
		fmt.Fprintf(&batch, "netns add weft-stale%04d\n", i)
		fmt.Fprintf(&batch, "link add wcabcdef00%04d type veth peer name wpabcdef00%04d netns weft-stale%04d\n", i, i, i)
	}
	// What only has such names is not weft's.
	batch.WriteString("netns add theirs\nnetns add weft-theirs\nlink add wc00000000aaaa type veth peer name wp00000000aaaa\nlink add wcard type veth peer name wpan0\nlink add wc0123456789ab type bridge\n")
	file := h1.Dir() + "/leftovers"
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, "h1", "ip -batch "+file+" && nft add table inet theirs")
	sh(t, "h1", `for n in /run/netns/weft-stale*; do n=${n##*/}; ip -n $n link set lo alias "weft network ${n#weft-}"; done`)
	t.Cleanup(func() {
		_, err := h1.Run(context.WithoutCancel(t.Context()), "sh", "-c", "ip netns del theirs && ip netns del weft-theirs && ip link del wc00000000aaaa && ip link del wcard && ip link del wc0123456789ab && nft delete table inet theirs")
		if err != nil {
			t.Error(err)
		}
	})
	if err := h1.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "leftovers are gone", func() error {
		if left := sh(t, "h1", "ls /run/netns /sys/class/net | grep -c -e weft-stale -e wcabcdef -e wpabcdef || true"); left != "0" {
			return fmt.Errorf("%s are left", left)
		}
		return nil
	})
	sh(t, "h1", "ip netns exec theirs true && ip netns exec weft-theirs true && ip link show wp00000000aaaa && ip link show wpan0 && ip link show wc0123456789ab && nft list table inet theirs")
	if sent, lost := stop(); lost > 0 {
		t.Errorf("of %d packets, %d were lost", sent, lost)
	}
	c := container(t, "h1", n, "c")
	if err := c.reaches(b); err != nil {
		t.Error(err)
	}
}

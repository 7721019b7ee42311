package dataplane_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// TestNothingLeaks makes and removes networks many times. Goroutines are
// counted by TestMain.
func TestNothingLeaks(t *testing.T) {
	h := newHosts(t, 1)[0]
	all := states()
	cycle := func() {
		for _, name := range []string{"two networks", "VNIs swapped", "unguarded", "nothing"} {
			h.cfg = all[name]
			h.set()
			h.verify()
		}
	}
	cycle()
	files := openFiles(t)
	links := must(t, h.ns, "ip", "-o", "link")
	for range 10 {
		cycle()
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d open files became %d", files, n)
	}
	if got := must(t, h.ns, "ip", "-o", "link"); got != links {
		t.Errorf("links of the host were\n%sand are\n%s", links, got)
	}
	h.cfg.VTEP = netip.Addr{} // this host is in no cluster any more
	h.set()
	if out := must(t, h.ns, "nft", "list", "tables"); out != "" {
		t.Errorf("tables are left: %s", out)
	}
	left, err := os.ReadDir(h.dir)
	if err != nil || len(left) != 0 {
		t.Errorf("namespaces are left: %v, %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), h.dir+"/weft-") {
		t.Errorf("mounts are left (%v)", err)
	}
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/control"
)

// Whoever takes a host out is told what the host keeps.
func TestLeavingTellsWhatStays(t *testing.T) {
	all := control.Left{Host: "h1", State: "/var/lib/weft/state.db", Docker: []string{"lab", "web"}, Kernel: []string{"weft-aaaa"}}
	for _, tt := range []struct {
		name   string
		left   control.Left
		purged bool
		want   string
	}{
		{"alone", control.Left{Host: "h1", State: "/var/lib/weft/state.db"}, false, `Host "h1" has left the cluster. It joins again when weft is started again. Until then it keeps:
  - its state, /var/lib/weft/state.db
With --purge it would have kept nothing but the networks in its Docker.
`},
		{"with containers", all, false, `Host "h1" has left the cluster. It joins again when weft is started again. Until then it keeps:
  - its state, /var/lib/weft/state.db
  - in its kernel the namespaces weft-aaaa and the nftables table inet weft, which containers use
  - in its Docker the networks lab, web
With --purge it would have kept nothing but the networks in its Docker.
`},
		{"purged", all, true, `Host "h1" has left the cluster. Nothing of weft's is left in its kernel, nor its state.
Docker here still has the networks lab, web: remove them with ` + "`docker network rm`" + `, which takes 46 s each without weft.
`},
	} {
		if got := leftText(tt.left, tt.purged); got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
	code, _, text := weft(t, "leave", "--away", "--purge")
	if want := "weft: --away is refused with --force or --purge: a machine that shuts down keeps all that it has\n"; code != exitUsage || text != want {
		t.Errorf("got code %d and %q", code, text)
	}
}

// A state file that is set aside goes with the state, and nobody else's file does.
func TestThePurgeOfFiles(t *testing.T) {
	dir := t.TempDir()
	log, _ := logtest.NewNullLogger()
	cfg := config{StateDir: dir, bolt: filepath.Join(dir, "weft.db")}
	for _, name := range []string{"state.db", "weft.db", "mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := setAside(cfg.statePath(), os.ErrInvalid, log); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is gone already is fine
		if err := cfg.removeFiles(); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("left are %v, %v", left, err)
	}
}

package chaos

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/whole"
)

var (
	seed    = flag.Uint64("seed", 1, "decides the operations")
	minutes = flag.Float64("minutes", 2, "how long operations are drawn")
	keep    = flag.String("keep", os.TempDir(), "where the history and the logs of a failed run go")
)

func TestChaos(t *testing.T) {
	ctx := context.Background()
	c := lab.Config{
		Name: fmt.Sprintf("chaos-%d-%d", *seed, os.Getpid()), Progress: os.Stderr,
		Hosts: 4, Consuls: 1, WeftArgs: []string{"--log-level=debug", "--metrics=" + metrics},
	}
	if *seed%3 == 0 {
		c.Consuls = 3
	}
	live := *seed%2 == 0
	if live {
		c.DockerdArgs = []string{"--live-restore"}
	}
	l, err := lab.Up(ctx, c)
	if err != nil {
		t.Fatal("this test needs root and a lab: ", err)
	}
	defer func() {
		if err := l.Down(ctx); err != nil {
			t.Error("take the lab down: ", err)
		}
	}()
	began := time.Now()
	failures, history := Run(ctx, Config{
		Lab: l, Seed: *seed, Long: time.Duration(*minutes * float64(time.Minute)),
		LiveRestore: live, Servers: c.Consuls, Spare: l.Hosts()[3].Name(),
		Say: func(format string, args ...any) {
			t.Logf("%s  %s", time.Since(began).Round(time.Second), fmt.Sprintf(format, args...))
		},
	})
	for _, f := range failures {
		t.Error(f)
	}
	if t.Failed() {
		t.Logf("again with: make chaos SEED=%d MINUTES=%g\n%s", *seed, *minutes, history)
		keepLogs(t, l, history+storeOf(ctx, whole.Cluster{Lab: l}))
	}
}

// storeOf lists what the store has in the end.
func storeOf(ctx context.Context, c whole.Cluster) string {
	records, err := c.Records(ctx)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(records)) {
		fmt.Fprintf(&out, "%q: %.2000q\n", key, records[key])
	}
	return out.String()
}

// keepLogs copies the logs out of the lab, which is about to go.
func keepLogs(t *testing.T, l *lab.Lab, history string) {
	t.Helper()
	dir := filepath.Join(*keep, l.Name())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Error(err)
		return
	}
	files := map[string]string{}
	for _, c := range l.Consuls() {
		files[c.Name()+".log"] = c.Log()
	}
	for _, h := range l.Hosts() {
		// The log then says what each goroutine was doing.
		if !h.Running(lab.Weft) {
			continue
		}
		if err := h.Signal(lab.Weft, unix.SIGQUIT); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(time.Second)
	for _, h := range l.Hosts() {
		for _, s := range h.Services() {
			files[fmt.Sprintf("%s-%s.log", h.Name(), s)] = h.Log(s)
		}
	}
	for to, from := range files {
		log, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), log, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "history"), []byte(history), 0o600); err != nil {
		t.Error(err)
	}
	t.Log("history and logs are in ", dir)
}

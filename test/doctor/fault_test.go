package doctor

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
	checks "github.com/weft-net/weft/driver/doctor"
	"github.com/weft-net/weft/test/lab/labtest"
)

// How `make doctor-table` runs TestFaults.
var (
	rounds = flag.Int("rounds", 1, "how often each fault is made")
	table  = flag.String("table", "", "document whose table of checks is written anew")
)

// fault is one thing that a test breaks.
type fault struct {
	check string // which must find it, and no other
	how   string // what is broken, in a few words for the table
	host  string // where weft doctor runs; "": h1
	// ask is another way to run it; nil: on the host.
	ask func(t *testing.T) (control.Diagnosis, int)
	// breaks breaks it; the function that it returns mends it.
	breaks func(t *testing.T) (mend func())
	// says are words that the findings must have, such as the object's name.
	says []string
}

// faults are all that TestFaults makes.
func faults() []fault {
	return slices.Concat(hostFaults, kernelFaults, refusedFaults, wayFaults, pathFaults, storeFaults, recordFaults, networkFaults)
}

// tally counts what the checks found.
type tally struct {
	found, made map[string]int // by fault, check and how
	wrong       map[string]int // by check: findings on the healthy lab
}

// TestFaults breaks one thing after the other: weft doctor finds exactly that,
// with its exit code, and nothing before and after.
func TestFaults(t *testing.T) {
	count := tally{map[string]int{}, map[string]int{}, map[string]int{}}
	for range *rounds {
		for _, h := range cluster.Hosts() {
			d, _ := doctor(t, h.Name())
			for _, r := range counting(d) {
				count.wrong[r.Check]++
				t.Errorf("healthy %s: %s", h.Name(), said(d))
			}
		}
		for _, f := range faults() {
			key := f.check + f.how
			count.made[key]++
			t.Run(f.check+"/"+strings.ReplaceAll(f.how, "/", " "), func(t *testing.T) {
				if f.host == "" {
					f.host = "h1"
				}
				mend := f.breaks(t)
				mended := false
				t.Cleanup(func() {
					if !mended {
						mend()
					}
				})
				ask := func() []control.Finding {
					if f.ask != nil {
						return expectFrom(t, f.ask, f.check)
					}
					return expect(t, f.host, f.check)
				}
				// Of several things that are broken, one may be seen first.
				labtest.Eventually(t, 20*time.Second, "the findings say all", func() error {
					found := ask()
					for _, word := range f.says {
						if !slices.ContainsFunc(found, func(f control.Finding) bool { return strings.Contains(f.Object+f.Problem+f.Cure, word) }) {
							return fmt.Errorf("no finding says %q", word)
						}
					}
					return nil
				})
				mended = true
				mend()
				if f.ask == nil {
					well(t, f.host)
				}
				if !t.Failed() {
					count.found[key]++
				}
			})
		}
	}
	if *table != "" && !t.Failed() {
		count.write(t, *table)
	}
}

// Every check has something that is broken for it.
func TestEveryCheckHasAFault(t *testing.T) {
	for _, check := range checks.All {
		if !slices.ContainsFunc(faults(), func(f fault) bool { return f.check == check.Name }) {
			t.Errorf("nothing is broken for the check %s", check.Name)
		}
	}
}

var between = regexp.MustCompile(`(?s)(<!-- table: make doctor-table -->\n).*(<!-- end of table -->)`)

// write puts the table of the checks into the document.
func (c tally) write(t *testing.T, path string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| check | exit code | looks at | broken by | found | false |\n|---|---|---|---|---|---|\n")
	for _, check := range checks.All {
		wrong := fmt.Sprintf("%d/%d", c.wrong[check.Name], *rounds)
		for _, f := range faults() {
			if f.check != check.Name {
				continue
			}
			key := f.check + f.how
			fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %d/%d | %s |\n", check.Name, check.Code, check.About, f.how, c.found[key], c.made[key], wrong)
		}
	}
	old, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		t.Fatal(err)
	}
	if !between.Match(old) {
		t.Fatalf("%s has no place for the table", path)
	}
	if err := os.WriteFile(path, between.ReplaceAll(old, []byte("${1}"+strings.ReplaceAll(b.String(), "$", "$$")+"${2}")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// commands breaks by one shell command on the host and mends by another.
func commands(host, breaks, mends string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		sh(t, host, breaks)
		return func() { sh(t, host, mends) }
	}
}

// restarted breaks by starting weft on the host with a setting (see wrapper in
// lab_test.go), if not nil, and more flags, and mends by starting it without.
func restarted(host string, setting func(t *testing.T) string, flags ...string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		text := ""
		if setting != nil {
			text = setting(t)
		}
		restart(t, host, text, flags...)
		return func() { restart(t, host, "") }
	}
}

func restart(t *testing.T, host, setting string, flags ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	h := cluster.Host(host)
	if err := h.Stop(ctx, weft); err != nil {
		t.Fatal(err)
	}
	sh(t, host, fmt.Sprintf("echo '%s' > %s", setting, settings))
	h.WeftArgs(flags...)
	if err := h.Start(ctx, weft); err != nil {
		t.Fatal(err)
	}
}

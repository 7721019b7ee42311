package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// cluster is the lab that the tests share. Every test leaves it healthy.
var cluster *lab.Lab

// binary is the weft that is tested; the lab runs it through wrapper.
var binary string

// scratch is a directory of this run's own.
var scratch string

// demo is a network with a container, box, on each host.
const demo = "demo"

// weft is short for the service.
const weft = lab.Weft

// settings is where a host has what its weft is started with instead.
const settings = "/run/weft.test"

// wrapper starts weft as the host's settings say: WEFT_REAL is another binary.
const wrapper = `#!/bin/sh
[ ! -f ` + settings + ` ] || . ` + settings + `
exec "${WEFT_REAL:-%s}" "$@"
`

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if addr := os.Getenv(takes); addr != "" {
		return take(addr)
	}
	if weft := os.Getenv(refuses); weft != "" {
		return refuse(weft)
	}
	binary = os.Getenv("WEFT_BIN")
	if binary == "" {
		binary = "../../bin/weft"
	}
	var err error
	if scratch, err = os.MkdirTemp("", "weft-doctor-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	start := filepath.Join(scratch, "weft")
	if binary, err = filepath.Abs(binary); err == nil {
		err = os.WriteFile(start, fmt.Appendf(nil, wrapper, binary), 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return lab.Main(lab.Config{Name: "doctor", Hosts: 2, Weft: start}, func(ctx context.Context, l *lab.Lab) int {
		cluster = l
		if err := furnish(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "furnish the lab:", err)
			return 1
		}
		defer func() {
			if restricted != nil {
				restricted.Stop()
			}
		}()
		return m.Run()
	})
}

// furnish makes the network and its containers.
func furnish(ctx context.Context) error {
	if _, err := cluster.Host("h1").Docker(ctx, "network", "create", "-d", "weft", "--ipam-driver", "weft", demo); err != nil {
		return err
	}
	for _, h := range cluster.Hosts() {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			_, err := h.Docker(ctx, "network", "inspect", demo)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return err
			}
		}
		if _, err := h.Docker(ctx, runBox...); err != nil {
			return err
		}
	}
	return nil
}

var runBox = []string{"run", "-d", "--name", "box", "--network", demo, "busybox", "sleep", "100000"}

// box starts the host's container.
func box(t *testing.T, host string) {
	t.Helper()
	docker(t, host, runBox...)
}

// docker runs a docker command that must succeed.
var docker = labtest.DockerOn(&cluster)

// ask runs a weft command on the host and decodes its JSON.
func ask[T any](t *testing.T, host string, args ...string) T {
	t.Helper()
	var v T
	out := sh(t, host, binary+" "+strings.Join(args, " ")+" --json")
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%s$ weft %s: %v: %q", host, strings.Join(args, " "), err, out)
	}
	return v
}

// sh runs a shell command on the host, which must succeed.
func sh(t *testing.T, host, command string) string {
	t.Helper()
	out, err := cluster.Host(host).Run(context.WithoutCancel(t.Context()), "sh", "-c", command)
	if err != nil {
		t.Fatalf("%s$ %s: %v", host, command, err)
	}
	return out
}

// doctor runs `weft doctor --json` on the host and gives what it says and its
// exit code.
func doctor(t *testing.T, host string) (control.Diagnosis, int) {
	t.Helper()
	return decode(t, cluster.Host(host).Command(context.WithoutCancel(t.Context()), binary, "doctor", "--json"))
}

// decode runs weft doctor and gives what it says and its exit code.
func decode(t *testing.T, cmd *exec.Cmd) (control.Diagnosis, int) {
	t.Helper()
	out, err := cmd.Output()
	code := 0
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case exited:
		code = exit.ExitCode()
	case err != nil:
		t.Fatalf("weft doctor: %v", err)
	}
	var d control.Diagnosis
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("weft doctor: %v: exit code %d: %q", err, code, out)
	}
	return d, code
}

// eventually waits for what other processes bring about.
var eventually = labtest.Eventually

// expect waits until weft doctor on the host finds something by exactly the
// check and by no other, with the check's own exit code, and gives what it found.
func expect(t *testing.T, host, check string) []control.Finding {
	t.Helper()
	return expectFrom(t, func(t *testing.T) (control.Diagnosis, int) { return doctor(t, host) }, check)
}

// expectFrom is expect of any way to run weft doctor.
func expectFrom(t *testing.T, ask func(t *testing.T) (control.Diagnosis, int), check string) []control.Finding {
	t.Helper()
	var out []control.Finding
	eventually(t, 15*time.Second, fmt.Sprintf("exactly check %s finds something", check), func() error {
		d, code := ask(t)
		out = nil
		want := -1
		for _, r := range d.Checks {
			if r.Check == check {
				out, want = r.Findings, r.Code
			}
		}
		if found := counting(d); len(found) != 1 || found[0].Check != check || code != want {
			return fmt.Errorf("exit code %d, findings: %s", code, said(d))
		}
		return nil
	})
	for _, f := range out {
		t.Logf("%s (%s): %s. To do: %s", f.Check, f.Object, f.Problem, f.Cure)
		if f.Problem == "" || f.Cure == "" || f.Object == "" || f.Severity == "" {
			t.Errorf("a finding without all its words: %+v", f)
		}
	}
	return out
}

// healthy waits until weft doctor finds nothing on any host.
func healthy(t *testing.T) {
	t.Helper()
	for _, h := range cluster.Hosts() {
		well(t, h.Name())
	}
}

// well waits until weft doctor finds nothing on the host.
func well(t *testing.T, host string) {
	t.Helper()
	eventually(t, 30*time.Second, host+" is healthy", func() error {
		if d, code := doctor(t, host); code != 0 || !d.Healthy {
			return fmt.Errorf("exit code %d, findings: %s", code, said(d))
		}
		return nil
	})
}

// counting are the results with findings that follow from no others, notes left out.
func counting(d control.Diagnosis) []control.CheckResult {
	var out []control.CheckResult
	for _, r := range d.Checks {
		if r.Counts() {
			out = append(out, r)
		}
	}
	return out
}

// said lists what was found, for the eyes of who reads a failure.
func said(d control.Diagnosis) string {
	var out []string
	for _, r := range d.Checks {
		for _, f := range r.Findings {
			out = append(out, fmt.Sprintf("%s %v: %s", r.Check, r.Follows, f.Problem))
		}
		if r.NotChecked != "" {
			out = append(out, r.Check+" not checked: "+r.NotChecked)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, "; ")
}

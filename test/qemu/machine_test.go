package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// tools is where the links to qemu and the kernels are.
const tools = "../../.cache/bin"

// debian is a machine with the kernel of Debian 12, which has no tcx.
func debian(t *testing.T) machine {
	t.Helper()
	m, err := newMachine(t.Context(), tools, "6.1", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// says runs the machine and gives what its command said, and how that ended.
func (m machine) says(t *testing.T) (out string, code int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 8*time.Minute) // a command that should end and serves
	defer stop()
	var said bytes.Buffer
	code, err := m.run(ctx, io.MultiWriter(&said, t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	return said.String(), code
}

func TestACommandRunsOnThatKernel(t *testing.T) {
	m := debian(t)
	m.env, m.without = []string{"WORD=two words"}, []string{"dummy"}
	m.command = []string{"sh", "-c", `uname -r; echo "$WORD"; pwd; ip link add d0 type dummy; ip link add v0 type veth && echo veth; exit 7`}
	out, code := m.says(t)
	want := regexp.MustCompile(`^6\.1\.\d.*\ntwo words\n/root\n.*Unknown device type\.\nveth\n$`)
	if !want.MatchString(out) || code != 7 {
		t.Errorf("it ended with %d and said %q", code, out)
	}
}

func TestWhatCannotRunIsSaid(t *testing.T) {
	m := debian(t)
	m.command = []string{"/nothing"}
	if _, err := m.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "/nothing: no such file") {
		t.Errorf("a command that is not there: %v", err)
	}
	m.without = []string{"no_such_module"}
	if _, err := m.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "no module no_such_module") {
		t.Errorf("a module that is not there: %v", err)
	}
	m.qemu = t.TempDir()
	if _, err := m.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "install.sh qemu") {
		t.Errorf("a qemu that is not there: %v", err)
	}
	m.kernel = filepath.Join(m.qemu, "kernel-6.1")
	if _, err := m.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "install.sh kernel-6.1") {
		t.Errorf("a kernel that is not there: %v", err)
	}
}

// What the fast path does it does on a kernel without tcx as well. What is about tcx
// itself is left out there, and nothing else.
func TestTheFastPathOnDebiansKernel(t *testing.T) {
	for name, c := range map[string]struct {
		pkg     string
		flags   []string
		skipped []string
	}{
		"programs":  {"./driver/dataplane/fastpath", []string{"-packets", "30000"}, nil},
		"dataplane": {"./driver/dataplane", []string{"-test.run", "Fast|Program|Slow|Datagrams|Filter|IPsec|Strangers|Processes|VLAN"}, []string{"TestProgramsByTCXAreTakenOverFrom"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := debian(t)
			if err := m.tests(t.Context(), "../../"+c.pkg, t.TempDir(), append([]string{"-test.v"}, c.flags...)); err != nil {
				t.Fatal(err)
			}
			out, code := m.says(t)
			ended := map[string][]string{}
			for _, f := range regexp.MustCompile(`(?m)^--- (\w+): (\w+)`).FindAllStringSubmatch(out, -1) {
				ended[f[1]] = append(ended[f[1]], f[2])
			}
			if code != 0 || len(ended["PASS"]) == 0 || !slices.Equal(ended["SKIP"], c.skipped) {
				t.Errorf("exit code %d, failed: %q, left out: %q, want %q", code, ended["FAIL"], ended["SKIP"], c.skipped)
			}
		})
	}
}

// weft is the program that make build makes.
func weft(t *testing.T) string {
	t.Helper()
	file := os.Getenv("WEFT_BIN")
	if file == "" {
		t.Fatal("WEFT_BIN does not say where weft is: run 'make hosts HOSTS=./test/qemu'")
	}
	return file
}

// weft serve --fast-path=on ends at once where the kernel lacks something, and says what.
func TestServeSaysWhatTheFastPathLacks(t *testing.T) {
	for name, c := range map[string]struct {
		without []string
		want    string
	}{
		"filters":     {[]string{"cls_bpf"}, "the kernel was built without CONFIG_NET_CLS_BPF, or its module is not there"},
		"their place": {[]string{"sch_ingress"}, "the kernel was built without CONFIG_NET_SCH_INGRESS, or its module is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			m := debian(t)
			m.files["/bin/weft"] = weft(t)
			m.without = c.without
			m.command = []string{"sh", "-c", `ip link add eth0 type veth peer name peer0 && ip address add 192.0.2.1/24 dev eth0 && ip link set eth0 up && ip link set peer0 up &&
exec weft serve --fast-path=on --host=h1 --docker= --advertise=eth0 --store=bolt:///var/cluster.db --state-dir=/var/weft --socket=/run/weft.sock --control=/run/control.sock`}
			out, code := m.says(t)
			if code != 2 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "--fast-path=on is refused: this kernel has no fast path: ") || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, want 2; it said %q, want a line with %q", code, out, c.want)
			}
		})
	}
}

package fastpath

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestWhatIsLackingIsSaid(t *testing.T) {
	const bpf, net, admin = capabilities(1) << unix.CAP_BPF, capabilities(1) << unix.CAP_NET_ADMIN, capabilities(1) << unix.CAP_SYS_ADMIN
	for name, c := range map[string]struct {
		got  error
		want string
	}{
		"no capability":     {capabilities(0).enough(), "weft lacks CAP_BPF and CAP_NET_ADMIN,"},
		"not BPF's":         {net.enough(), "weft lacks CAP_BPF,"},
		"not the network's": {bpf.enough(), "weft lacks CAP_NET_ADMIN,"},
		"both":              {(bpf | net).enough(), ""},
		"all":               {admin.enough(), ""},
		"nothing":           {lacking(nil), ""},
		"forbidden":         {lacking(unix.EPERM), "seccomp"},
		"no system call":    {lacking(unix.ENOSYS), "CONFIG_BPF_SYSCALL"},
		"too old":           {since(5<<16 | 12<<8 | 255), "this kernel is 5.12: what the fast path's programs use came with 5.13"},
		"just new enough":   {since(5<<16 | 13<<8), ""},
		"Debian's":          {since(6<<16 | 1<<8 | 176), ""},
		"not supported":     {lacking(fmt.Errorf("map: %w", ebpf.ErrNotSupported)), "CONFIG_BPF_SYSCALL"},
		"something else":    {lacking(unix.ENOMEM), "cannot allocate memory"},
	} {
		if (c.got == nil) != (c.want == "") || c.got != nil && !strings.Contains(c.got.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, c.got, c.want)
		}
	}
}

// opens is set for a process that only says what Open says.
const opens = "WEFT_TEST_OPENS_THE_FAST_PATH"

func TestWithoutACapabilityThereIsNoFastPath(t *testing.T) {
	if os.Getenv(opens) != "" {
		_, err := Open()
		fmt.Println("Open says:", err)
		return
	}
	for dropped, want := range map[string]string{
		"-bpf,-sys_admin":            "weft lacks CAP_BPF,",
		"-bpf,-sys_admin,-net_admin": "weft lacks CAP_BPF and CAP_NET_ADMIN,",
		"-bpf":                       "<nil>",
	} {
		cmd := exec.CommandContext(t.Context(), "setpriv", "--bounding-set="+dropped, "--inh-caps=-all", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), opens+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("with the capabilities %s: want %q: %v: %s", dropped, want, err, out)
		}
	}
}

// Others know a process's namespace by its first thread, so none may stay elsewhere. A
// process of its own is looked at, since other tests leave threads in namespaces.
func TestOpenLeavesNoThreadElsewhere(t *testing.T) {
	const alone = "FASTPATH_TEST_ALONE"
	if os.Getenv(alone) == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOpenLeavesNoThreadElsewhere$")
		c.Env = append(os.Environ(), alone+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		p, err := Open()
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	threads, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	for _, thread := range threads {
		if at, err := os.Readlink(thread); err == nil && at != home { // one may have just ended
			t.Errorf("%s is %s, and the process's namespace %s", thread, at, home)
		}
	}
}

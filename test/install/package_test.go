package install

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api"
)

func TestWhatIsInThePackage(t *testing.T) {
	deb := build(t, "deb", "weft_*_"+runtime.GOARCH+".deb")
	for _, tt := range []struct {
		what string
		args []string
		want []string
	}{
		{"files", []string{"dpkg-deb", "--contents", deb}, []string{
			"-rwxr-xr-x root/root", " ./usr/bin/weft\n", " ./lib/systemd/system/weft.service\n", "-rw------- root/root", " ./etc/weft/weft.env\n",
			" ./usr/share/doc/weft/copyright\n", " ./usr/share/doc/weft/README.md\n", " ./usr/share/doc/weft/docs/metrics.md\n",
			" ./usr/share/weft/prometheus/weft.rules.yml\n", " ./usr/share/weft/grafana/weft.json\n",
			" ./usr/share/man/man8/weft.8.gz\n", " ./usr/share/man/man8/weft-serve.8.gz\n", " ./usr/share/man/man8/weft-network-inspect.8.gz\n",
			" ./usr/share/bash-completion/completions/weft\n", " ./usr/share/zsh/vendor-completions/_weft\n",
			" ./usr/share/fish/vendor_completions.d/weft.fish\n",
		}},
		{"control", []string{"dpkg-deb", "--info", deb}, []string{" Package: weft\n", " Architecture: " + runtime.GOARCH + "\n"}},
		{"settings that an upgrade keeps", []string{"dpkg-deb", "--info", deb, "conffiles"}, []string{"/etc/weft/weft.env\n"}},
	} {
		out, err := exec.CommandContext(t.Context(), tt.args[0], tt.args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", tt.what, err, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", tt.what, want, out)
			}
		}
	}
}

func TestTheUnit(t *testing.T) {
	dir := t.TempDir()
	unit, err := os.ReadFile(root + "/deploy/weft.service")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "weft.service")
	if err := os.WriteFile(path, bytes.ReplaceAll(unit, []byte("/usr/bin/weft"), []byte(binary(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd says of the unit: %v\n%s", err, out)
	}
	// What gives the service a mount namespace takes the networks' namespaces
	// with it when the service restarts (systemd.exec(5), "Sandboxing").
	for _, setting := range []string{
		"ProtectSystem=", "ProtectHome=", "PrivateTmp=", "PrivateDevices=", "PrivateMounts=", "ProtectKernel", "ProtectControlGroups=",
		"ProtectProc=", "ReadOnlyPaths=", "ReadWritePaths=", "InaccessiblePaths=", "BindPaths=", "TemporaryFileSystem=", "MountFlags=", "RootDirectory=", "DynamicUser=",
	} {
		if bytes.Contains(unit, []byte("\n"+setting)) {
			t.Errorf("the unit has %s, which ends running containers' traffic when weft restarts", setting)
		}
	}
}

func TestInstallAndUninstall(t *testing.T) {
	dir := t.TempDir()
	cmd := func(target string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "make", "-s", "-C", root, target, "DESTDIR="+dir).CombinedOutput()
		if err != nil {
			t.Fatalf("make %s: %v\n%s", target, err, out)
		}
		return string(out)
	}
	cmd("install")
	unit, err := os.ReadFile(dir + "/usr/local/lib/systemd/system/weft.service")
	if err != nil || !bytes.Contains(unit, []byte("ExecStart=/usr/local/bin/weft serve\n")) {
		t.Errorf("the unit is\n%s%v", unit, err)
	}
	for _, file := range []string{"man/man8/weft-serve.8.gz", "bash-completion/completions/weft", "zsh/vendor-completions/_weft", "fish/vendor_completions.d/weft.fish"} {
		if _, err := os.Stat(filepath.Join(dir, "usr/local/share", file)); err != nil {
			t.Error(err)
		}
	}
	env := filepath.Join(dir, "etc/weft/weft.env")
	if err := os.WriteFile(env, []byte("WEFT_STORE=mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd("install")
	if kept, err := os.ReadFile(env); err != nil || string(kept) != "WEFT_STORE=mine\n" {
		t.Errorf("a second install leaves %q, %v", kept, err)
	}
	if out := cmd("uninstall"); !strings.Contains(out, "keep their networks until they stop") {
		t.Errorf("uninstall says %q", out)
	}
	err = filepath.WalkDir(dir+"/usr", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is still there", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(env); err != nil {
		t.Errorf("the settings are gone: %v", err)
	}
}

// Who builds the same commit twice gets the same bytes, in another folder too.
func TestBuildsAreReproducible(t *testing.T) {
	copied := filepath.Join(t.TempDir(), "elsewhere")
	out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", "--local", root, copied).CombinedOutput()
	if err != nil {
		t.Fatalf("clone: %v\n%s", err, out)
	}
	first := filepath.Join(t.TempDir(), "first")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", "--local", root, first).CombinedOutput(); err != nil {
		t.Fatalf("clone: %v\n%s", err, out)
	}
	var sums []string
	for _, dir := range []string{first, copied} {
		out, err := exec.CommandContext(t.Context(), "make", "-s", "-C", dir, "dist").CombinedOutput()
		if err != nil {
			t.Fatalf("make dist: %v\n%s", err, out)
		}
		text, err := os.ReadFile(dir + "/dist/SHA256SUMS")
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(text))
	}
	if sums[0] != sums[1] {
		t.Errorf("first\n%sthen\n%s", sums[0], sums[1])
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		f, err := elf.Open(first + "/dist/weft_linux_" + arch)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Machine != machine {
			t.Errorf("the binary for %s is for %s", arch, f.Machine)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("the binary for %s is linked dynamically", arch)
			}
		}
		for _, name := range []string{"_" + arch + ".deb", "weft-plugin_" + arch + ".tar.gz"} {
			if !strings.Contains(sums[0], name) {
				t.Errorf("no %s among\n%s", name, sums[0])
			}
		}
	}
}

func TestVersionTellsWhatItIs(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), binary(t), "version", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Version, Commit, Go, OS, Arch string
		DockerAPI                     struct{ Min, Max string } `json:"docker_api"`
	}
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	commit, err := exec.CommandContext(t.Context(), "git", "-C", root, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(commit), v.Commit) || v.Go != runtime.Version() || v.Arch != runtime.GOARCH ||
		v.DockerAPI.Min != api.MinSupportedAPIVersion || v.DockerAPI.Max != api.DefaultVersion {
		t.Errorf("it says %s, of commit %s", out, commit)
	}
}

package recovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// ask makes one of Docker's calls to the host's weft.
func ask(t *testing.T, host, method string, request any) (answer struct{ Address, Err string }) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", cluster.Host(host).Path("/run/docker/plugins/weft.sock"))
	}}}
	res, err := client.Post("http://weft/"+method, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// ownDisk has the host keep its state on a file system of its own until the end of
// the test, which the command mounts on the directory that it gives.
func ownDisk(t *testing.T, h *lab.Host, mount string) (dir string) {
	t.Helper()
	dir = filepath.Dir(state(h.Name()))
	keep := dir + ".keep"
	offline := func(command string) error {
		ctx := context.WithoutCancel(t.Context())
		if err := h.Stop(ctx, lab.Weft); err != nil {
			return err
		}
		if _, err := h.Run(ctx, "sh", "-c", command); err != nil {
			return err
		}
		return h.Start(ctx, lab.Weft)
	}
	if err := offline(fmt.Sprintf("cp -a %[1]s %[2]s && %[3]s %[1]s && cp -a %[2]s/. %[1]s", dir, keep, mount)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := offline(fmt.Sprintf("rm -f %[1]s/fill && cp -a %[1]s/. %[2]s && umount %[1]s && cp -a %[2]s/. %[1]s && rm -r %[2]s", dir, keep)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// With a full disk a call that must be recorded is refused in one sentence,
// and all else goes on; with room again everything does. A directory that
// cannot be written is refused at the start.
func TestDisk(t *testing.T) {
	n := network(t)
	a, b := container(t, "h1", n, "a"), container(t, "h2", n, "b")
	subnet := docker(t, "h1", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", n)
	h1 := cluster.Host("h1")
	dir := ownDisk(t, h1, "mount -t tmpfs -o size=2m tmpfs")

	stop := a.pings(b)
	sh(t, "h1", "dd if=/dev/zero of="+dir+"/fill bs=4k 2>/dev/null; true")
	refusal := ""
	addresses := map[string]bool{}
	for range 300 {
		answer := ask(t, "h1", "IpamDriver.RequestAddress", map[string]string{"PoolID": subnet})
		if refusal = answer.Err; refusal != "" {
			break
		}
		if addresses[answer.Address] {
			t.Fatalf("%s was given twice", answer.Address)
		}
		addresses[answer.Address] = true
	}
	if !strings.Contains(refusal, "state cannot be written") || !strings.Contains(refusal, "no space left") || strings.Contains(refusal, "\n") {
		t.Errorf("after %d addresses the refusal is %q", len(addresses), refusal)
	}
	t.Logf("after %d addresses: %s", len(addresses), refusal)
	c := container(t, "h2", n, "c")
	if err := c.reaches(a); err != nil {
		t.Error(err)
	}
	if err := a.reaches(c); err != nil {
		t.Error(err)
	}
	if sent, lost := stop(); lost > 0 {
		t.Errorf("of %d packets, %d were lost", sent, lost)
	}
	sh(t, "h1", "rm "+dir+"/fill")
	for range 20 {
		answer := ask(t, "h1", "IpamDriver.RequestAddress", map[string]string{"PoolID": subnet})
		if answer.Err != "" || addresses[answer.Address] {
			t.Fatalf("with room again the answer is %+v", answer)
		}
		addresses[answer.Address] = true
	}
	for address := range addresses {
		address, _, _ = strings.Cut(address, "/")
		ask(t, "h1", "IpamDriver.ReleaseAddress", map[string]string{"PoolID": subnet, "Address": address})
	}
	d := container(t, "h1", n, "d")
	if err := d.reaches(b); err != nil {
		t.Error(err)
	}

	if err := h1.Stop(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	sh(t, "h1", "mount -o remount,ro "+dir)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := h1.Command(ctx, "weft", "serve", "--state-dir", dir, "--advertise", h1.Addr().String(), "--plugin-dir", "/tmp/plugins", "--control", "unix:///tmp/control.sock", "--docker", "")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "read-only file system") {
		t.Errorf("in a read-only directory weft ended with %v and said %q", err, out)
	}
	t.Logf("read-only: %s", out)
	sh(t, "h1", "mount -o remount,rw "+dir)
	if err := h1.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
}

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/test/lab"
)

// clone starts a copy of the host on another machine, which has a machine-id of its
// own: it must end at once, whatever the store does at that moment.
func (r *runner) clone(ctx context.Context, o op) error {
	return r.copied(ctx, o, []string{"another machine", "--adopt"})
}

// twin starts a copy of the host with the same machine-id: it must wait for the end
// of the host's lease, and end since that does not come.
func (r *runner) twin(ctx context.Context, o op) error {
	if err := r.settled(ctx, o.host); err != nil {
		return err
	}
	return r.copied(ctx, o, []string{"runs already", "machine-id"}, "--machine-id="+r.Lab.Host(o.host).Path("/etc/machine-id"))
}

// copied runs a copy of the host on the spare one, which must be refused in one
// sentence that has the words.
func (r *runner) copied(ctx context.Context, o op, words []string, args ...string) error {
	h, spare := r.Lab.Host(o.host), r.Lab.Host(r.Spare)
	text, err := frozen(h)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("copy%d", o.n)
	dir := filepath.Join(spare.Dir(), name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "state.db"), text, 0o600); err != nil {
		return err
	}
	_, err = spare.Run(ctx, append([]string{
		"timeout", "90", "weft", "serve", "--store", r.store(), "--advertise", spare.Addr().String(), "--state-dir", dir,
		"--control", "unix:///run/" + name + "/weft.sock", "--plugin-dir", "/run/" + name + "/plugins", "--docker", "unix:///run/docker.sock",
	}, args...)...)
	if err == nil {
		return fmt.Errorf("a copy of %s ran for 90 s", o.host)
	}
	said := err.Error()
	said = strings.TrimSpace(said[max(strings.LastIndex(said, "weft: "), 0):])
	for _, word := range append(words, fmt.Sprintf("%q", o.host)) {
		if !strings.Contains(said, word) || strings.Contains(said, "\n") {
			return fmt.Errorf("a copy of %s was not refused as it should be: %s", o.host, said)
		}
	}
	return r.ownPlace(ctx, o.host)
}

// store is where hosts find the store.
func (r *runner) store() string {
	var servers []string
	for _, c := range r.Lab.Consuls() {
		servers = append(servers, c.Addr().String()+":8500")
	}
	return "consul://" + strings.Join(servers, ",")
}

// ownPlace says that the store has another machine in the host's place than its own.
// A store that does not answer, or has lost the record, says nothing.
func (r *runner) ownPlace(ctx context.Context, host string) error {
	c, err := r.leading(ctx)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	text, err := c.Request(ctx, http.MethodGet, "/v1/kv/weft/host/"+host+"/owner?raw", nil)
	var owner struct{ VTEP string }
	if err != nil || json.Unmarshal(text, &owner) != nil || owner.VTEP == "" {
		return nil //nolint:nilerr // see above
	}
	if owner.VTEP != r.Lab.Host(host).Addr().String() {
		return fmt.Errorf("the place of %s is that of the machine at %s", host, owner.VTEP)
	}
	return nil
}

// retire makes the spare host a former member of the cluster, with nothing running.
func (r *runner) retire(ctx context.Context) error {
	spare := r.Lab.Host(r.Spare)
	if _, err := spare.Run(ctx, "weft", "leave"); err != nil {
		return err
	}
	for _, s := range []lab.Service{lab.Weft, lab.Dockerd} {
		if err := spare.Stop(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

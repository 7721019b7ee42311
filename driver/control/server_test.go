package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
)

// serve runs a server of s, as `weft serve` does.
func serve(t *testing.T, s State) Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "run", "weft.sock")
	l, err := plugin.Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.NewNullLogger()
	run(t, New(func() State { return s }, log), l)
	return Client{Socket: socket}
}

// run runs the server until the test ends.
func run(t *testing.T, s *Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestTheClientGetsWhatTheViewsSay(t *testing.T) {
	c, x := serve(t, healthy()), newIndex(healthy())
	check := func(what string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if d := cmp.Diff(want, got, plain); d != "" {
			t.Errorf("%s (-want +got)\n%s", what, d)
		}
	}
	status, err := c.Status(t.Context())
	status.Problems, status.Healthy = []string{}, true // the last pass was long ago by now
	check("status", x.status(start), status, err)
	networks, err := c.Networks(t.Context())
	check("networks", x.networks(), networks, err)
	network, err := c.Network(t.Context(), "web")
	want, _ := x.detail("web")
	check("network", want, network, err)
	endpoints, err := c.Endpoints(t.Context(), Filter{Network: "web", Host: "h1"})
	check("endpoints", x.endpoints[:1], endpoints, err)
	hosts, err := c.Hosts(t.Context())
	check("hosts", x.hosts, hosts, err)
}

func TestOnlyRootMayOpenTheSocket(t *testing.T) {
	c := serve(t, healthy())
	info, err := os.Stat(c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode().Perm())
	}
}

func TestNamesWithOddCharacters(t *testing.T) {
	s := healthy()
	names := []string{"a/b", "a b", "a?b#c", "ä%2F"}
	for _, name := range names {
		s.Snapshot.Networks[name] = overlay.Network{ID: "id of " + name, Name: name}
	}
	c := serve(t, s)
	for _, name := range names {
		if got, err := c.Network(t.Context(), name); err != nil || got.Name != name {
			t.Errorf("%q gives %q, %v", name, got.Name, err)
		}
	}
}

func TestRefusalsAreTheDaemonsSentences(t *testing.T) {
	c := serve(t, healthy())
	_, err := c.Network(t.Context(), "nowhere")
	want := "weft knows no network \"nowhere\": `weft network ls` lists those of the cluster"
	if !errors.Is(err, ErrRefused) || err.Error() != want {
		t.Errorf("an unknown network gives %v, want %s", err, want)
	}
	_, err = c.Endpoints(t.Context(), Filter{Host: "h9"})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `no host "h9"`) {
		t.Errorf("an unknown host gives %v", err)
	}
	_, err = ask[Status](t.Context(), c, "weather", nil)
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "GET /v1/weather") {
		t.Errorf("a request of another version gives %v", err)
	}
}

func TestAnAbsentDaemonIsOneSentence(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{stale, filepath.Join(dir, "none.sock"), filepath.Join(dir, "no", "dir.sock")} {
		_, err := Client{Socket: socket}.Status(t.Context())
		want := "no weft daemon answers on " + socket + ": is it running? (systemctl status weft)"
		if !errors.Is(err, ErrAbsent) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAnotherServerOnTheSocketIsNoDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "other.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.NewNullLogger()
	other := New(nil, log)
	other.mux = http.NewServeMux() // answers 404 without JSON
	run(t, other, l)
	_, err = Client{Socket: socket}.Status(t.Context())
	if want := "what answers on " + socket + " is no weft daemon (HTTP status 404)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Scripts read these fields: a change here breaks them.
func TestJSONFieldsStay(t *testing.T) {
	fields := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(strings.NewReader(string(b)))
		var keys []string
		if _, err := dec.Token(); err != nil {
			t.Fatal(err)
		}
		for dec.More() {
			k, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k.(string))
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				t.Fatal(err)
			}
			if string(skip) == "null" {
				t.Errorf("field %s of %T is null", k, v)
			}
		}
		return strings.Join(keys, " ")
	}
	x := newIndex(healthy())
	status := x.status(start)
	detail, _ := x.detail("web")
	for _, c := range []struct {
		v    any
		want string
	}{
		{status, "healthy problems warnings version commit started host vtep port mtu cluster goroutines store docker passes keys fast_path direct counts skipped"},
		{status.Store, "url reachable since"},
		{status.Docker, "mirroring url connected since conflicts"},
		{status.Passes, "count repairs last took_ns every_ns errors failed_networks"},
		{status.Fast, "open networks sent received local sent_direct received_direct"},
		{status.Direct, "takes hosts"},
		{DirectHost{Direct: []string{}, Probing: []string{}, Tunnel: []string{}}, "host direct probing tunnel unanswered"},
		{status.Counts, "networks endpoints endpoints_here hosts hosts_live hosts_down hosts_unknown hosts_silent stock duplicates"},
		{x.networks()[1], "id name vni subnets mtu hosts endpoints state"},
		{detail, "id name vni subnets mtu hosts endpoints state record mtu_host narrow ignored_options unkept_options on"},
		{detail.On[0], "host state endpoints stock"},
		{detail.On[0].Endpoints[0], "id container network network_name host addrs mac phase"},
		{x.hosts[0], "name self incarnation vtep port mtu version state since silent networks endpoints"},
	} {
		if got := fields(c.v); got != c.want {
			t.Errorf("%T\n got %s\nwant %s", c.v, got, c.want)
		}
	}
}

func TestRunFailsWhenItsSocketFails(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "weft.sock")
	l, err := plugin.Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := New(healthy, logrus.New()).Run(t.Context(), l); err == nil {
		t.Error("no error")
	}
}

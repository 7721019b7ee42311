package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
)

var update = flag.Bool("update", false, "write testdata instead of comparing with it")

func TestMain(m *testing.M) {
	if os.Getenv(serves) != "" {
		serveAlone()
	}
	goleak.VerifyTestMain(m)
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// small is one healthy host with one container in network web; network lab is
// another host's.
func small() control.State {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	h1 := overlay.Host{Name: "h1", Incarnation: "i1", VTEP: addr("192.0.2.1"), Port: 4789, MTU: 1500, Version: "1.0"}
	h2 := overlay.Host{Name: "h2", Incarnation: "i2", VTEP: addr("192.0.2.2"), Port: 4789, MTU: 1500, Version: "1.0"}
	return control.State{
		Version: "1.0", Commit: "0123456789ab", Started: start, Cluster: "c0ffee",
		Snapshot: overlay.Snapshot{
			Self:  h1,
			Hosts: map[string]overlay.Host{"h2": h2},
			Networks: map[string]overlay.Network{
				"aaaaaaaaaaaa": {
					ID: "aaaaaaaaaaaa", Name: "web", VNI: 70000, Host: "h1", Created: start, Internal: true,
					Subnets: []overlay.Subnet{
						{Prefix: prefix("10.1.0.0/24"), Gateway: addr("10.1.0.1"), Range: prefix("10.1.0.128/25"), Aux: map[string]netip.Addr{"printer": addr("10.1.0.7")}},
						{Prefix: prefix("fd00:1::/64"), Gateway: addr("fd00:1::1")},
					},
					Options: map[string]string{"com.docker.network.driver.mtu": "1400"}, Labels: map[string]string{"team": "a\x1b[31m"},
				},
				"bbbbbbbbbbbb": {
					ID: "bbbbbbbbbbbb", VNI: 70001, MTU: 1300, Host: "h2", Created: start,
					Subnets: []overlay.Subnet{{Prefix: prefix("10.2.0.0/24")}},
				},
			},
			Local: []overlay.Endpoint{{
				ID: "1111111111111111", Network: "aaaaaaaaaaaa", MAC: overlay.MAC{2, 0, 0, 0, 0, 1}, Name: "shop",
				Addrs: []netip.Addr{addr("10.1.0.130"), addr("fd00:1::2")}, Phase: overlay.Joined,
			}},
			Peers: map[string][]overlay.Attachment{
				"aaaaaaaaaaaa": {{
					Network: "aaaaaaaaaaaa", Host: "h2", Stock: []netip.Addr{addr("10.1.0.140"), addr("10.1.0.141")},
					Endpoints: []overlay.PeerEndpoint{{ID: "2222222222222222", MAC: overlay.MAC{2, 0, 0, 0, 0, 2}, Addrs: []netip.Addr{addr("10.1.0.131")}}},
				}},
				"bbbbbbbbbbbb": {{Network: "bbbbbbbbbbbb", Host: "h2"}},
			},
		},
		Own:    []overlay.Attachment{{Network: "aaaaaaaaaaaa", Host: "h1", Stock: []netip.Addr{addr("10.1.0.150")}}},
		Hosts:  []control.HostState{{Host: h2, Live: true, Since: start}},
		Store:  control.Store{URL: "consul://192.0.2.100:8500", Reachable: true, Since: start},
		Keys:   control.Keys{Generation: 2, Count: 1},
		Docker: control.Docker{Mirroring: true, URL: "unix:///var/run/docker.sock", Connected: true, Since: start},
		Passes: control.Passes{Count: 7, Repairs: 1, Last: start, Took: 1234567 * time.Nanosecond},
		Fast:   control.FastPath{Open: true, Networks: 1, Sent: 1200, Received: 1100, Local: 3, SentDirect: 500, ReceivedDirect: 400},
		Direct: control.Direct{Takes: true, Hosts: []control.DirectHost{{Host: "h2", Direct: []string{"aaaaaaaaaaaa"}, Probing: []string{}, Tunnel: []string{"bbbbbbbbbbbb"}, Why: "the network has weft.path=tunnel"}}},
	}
}

// ill is small with everything gone wrong.
func ill() control.State {
	s := small()
	s.Hosts[0].Live = false
	s.Hosts = append(s.Hosts, control.HostState{Host: overlay.Host{Name: "h3"}, Silent: true})
	s.Store = control.Store{URL: "consul://192.0.2.100:8500", Since: start.Add(time.Minute), Error: "no leader"}
	s.Keys = control.Keys{Generation: 3, Count: 2, Waits: []string{"h2"}}
	s.Docker.Connected, s.Docker.Error = false, "connection refused"
	s.Docker.Conflicts = []control.Conflict{{Network: "web", Text: `network "web" exists on this host and is not weft's: remove it with docker network rm web`}}
	s.Fast = control.FastPath{Why: "this kernel is 5.10: what the fast path's programs use came with 5.13"}
	s.Direct = control.Direct{Why: s.Fast.Why}
	s.Passes.Errors = []string{"network bbbbbbbbbbbb: cannot allocate memory"}
	s.Snapshot.Self.VTEP, s.Cluster = netip.Addr{}, ""
	return s
}

// daemonOf serves s as `weft serve` does, and gives its --control.
func daemonOf(t *testing.T, s control.State) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "weft.sock")
	l, err := plugin.Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.NewNullLogger()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- control.New(func() control.State { return s }, log).Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended: %v", err)
		}
	})
	return "unix://" + socket
}

// weft runs one command line.
func weft(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// golden compares with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; go test ./cmd/weft -update writes it)\n%s", path, d)
	}
}

// The clock of these two is fixed; every other table has none.
func TestTablesWithTimes(t *testing.T) {
	now := start.Add(26*time.Hour + 5*time.Minute)
	for name, s := range map[string]control.State{"small": small(), "ill": ill()} {
		c := control.Client{Socket: strings.TrimPrefix(daemonOf(t, s), "unix://")}
		status, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "status-"+name+".txt", statusText(status, now))
		hosts, err := c.Hosts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "host-ls-"+name+".txt", hostsTable(hosts, now))
		network, err := c.Network(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "network-inspect-"+name+".txt", networkText(network, now))
	}
}

func TestCommandsWriteTablesAndJSON(t *testing.T) {
	at := daemonOf(t, small())
	for name, args := range map[string][]string{
		"network-ls":        {"network", "ls"},
		"network-inspect":   {"network", "inspect", "web", "bbbbbbbbbbbb"},
		"endpoint-ls":       {"endpoint", "ls"},
		"endpoint-ls-h2":    {"endpoint", "ls", "--network", "web", "--host", "h2"},
		"endpoint-ls-empty": {"endpoint", "ls", "--network=bbbbbbbbbbbb"},
		"host-ls":           {"host", "ls"},
		"status":            {"status"},
		"version":           {"version"},
	} {
		t.Run(name, func(t *testing.T) {
			code, table, stderr := weft(t, append(args, "--control", at)...)
			if code != exitOK || table == "" || stderr != "" {
				t.Fatalf("code %d, stdout %q, stderr %q", code, table, stderr)
			}
			code, text, stderr := weft(t, append(args, "--json", "--control", at)...)
			if code != exitOK || !json.Valid([]byte(text)) || stderr != "" {
				t.Fatalf("--json: code %d, stdout %q, stderr %q", code, text, stderr)
			}
			if name != "version" { // it names the toolchain
				golden(t, name+".json", text)
			}
			if strings.HasSuffix(name, "-ls") && name != "host-ls" || strings.HasPrefix(name, "endpoint") {
				golden(t, name+".txt", table)
			}
		})
	}
}

func TestStatusSaysByItsExitCodeThatSomethingIsWrong(t *testing.T) {
	code, stdout, stderr := weft(t, "status", "--control", daemonOf(t, ill()))
	if code != exitUnhealthy || stderr != "" || !strings.Contains(stdout, "no leader") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestWithoutADaemonOnlyVersionWorks(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "weft.sock")
	t.Setenv("WEFT_CONTROL", "unix://"+socket)
	want := "weft: no weft daemon answers on " + socket + ": is it running? (systemctl status weft)\n"
	for _, args := range []string{"status", "status --json", "network ls", "network inspect web", "endpoint ls", "host ls"} {
		code, stdout, stderr := weft(t, strings.Fields(args)...)
		if code != exitFailed || stdout != "" || stderr != want {
			t.Errorf("weft %s: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	code, stdout, _ := weft(t, "version")
	if code != exitOK || !strings.Contains(stdout, version) {
		t.Errorf("weft version: code %d, stdout %q", code, stdout)
	}
}

func TestRefusalsOfTheDaemonReachTheUser(t *testing.T) {
	at := daemonOf(t, small())
	for args, want := range map[string]string{
		"network inspect web nowhere":   "weft: weft knows no network \"nowhere\": `weft network ls` lists those of the cluster\n",
		"endpoint ls --network nowhere": "weft: weft knows no network \"nowhere\": `weft network ls` lists those of the cluster\n",
		"endpoint ls --host h9":         "weft: weft knows no host \"h9\": `weft host ls` lists those of the cluster\n",
	} {
		code, stdout, stderr := weft(t, append(strings.Fields(args), "--control", at)...)
		if code != exitFailed || stdout != "" || stderr != want {
			t.Errorf("weft %s: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestMistakesInTheCommandLineAreOneSentence(t *testing.T) {
	for args, want := range map[string]string{
		"nonsense":                      "\"nonsense\" is no command of `weft`",
		"network nonsense":              "\"nonsense\" is no command of `weft network`: there are inspect, ls",
		"host nonsense":                 "\"nonsense\" is no command of `weft host`",
		"status now":                    "`weft status` takes no arguments, but got \"now\"",
		"network ls web":                "`weft network ls` takes no arguments",
		"network inspect":               "`weft network inspect` needs the id or the name of a network",
		"status --nonsense":             "unknown flag: --nonsense (see `weft status --help`)",
		"--nonsense":                    "unknown flag: --nonsense (see `weft --help`)",
		"status -x":                     "unknown shorthand flag: 'x' in -x",
		"endpoint ls --network":         "flag needs an argument: --network",
		"status --json=maybe":           "invalid argument \"maybe\"",
		"status --control http://h1:80": "--control \"http://h1:80\" is no unix socket: give it as unix:///run/weft/weft.sock",
	} {
		code, stdout, stderr := weft(t, strings.Fields(args)...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "weft: "+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("weft %s: code %d, stdout %q, stderr %q; want %s", args, code, stdout, stderr, want)
		}
	}
}

func TestHelpIsNoMistake(t *testing.T) {
	for _, args := range []string{"", "--help", "network", "network ls --help", "help status"} {
		code, stdout, stderr := weft(t, strings.Fields(args)...)
		if code != exitOK || !strings.Contains(stdout, "Usage:") || stderr != "" {
			t.Errorf("weft %s: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "just now", 0: "just now", 59 * time.Second: "59s ago", 61 * time.Second: "1m ago",
		3*time.Hour + 4*time.Minute: "3h04m ago", 49 * time.Hour: "2d01h ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v gives %q, want %q", d, got, want)
		}
	}
}

package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dns"
	"github.com/weft-net/weft/driver/metrics"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/push"
	"github.com/weft-net/weft/driver/reconcile"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kvstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Unix(1_772_366_400, 0)

// state is that of host h1, which has one container in network web; h2 is down
// and has one there as well, with the same address.
func state() metrics.State {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	h1 := overlay.Host{Name: "h1", VTEP: addr("192.0.2.1"), Port: 4789, MTU: 1500}
	h2 := overlay.Host{Name: "h2", VTEP: addr("192.0.2.2"), Port: 4789, MTU: 1500}
	return metrics.State{
		State: control.State{
			Version: "1.0", Commit: "abc", Started: start,
			Snapshot: overlay.Snapshot{
				Self: h1,
				Networks: map[string]overlay.Network{
					"aaaaaaaaaaaa": {ID: "aaaaaaaaaaaa", Name: "web", Subnets: []overlay.Subnet{{Prefix: prefix("10.1.0.0/24")}}},
					"bbbbbbbbbbbb": {ID: "bbbbbbbbbbbb", Name: "not \xff UTF-8"},
				},
				Local: []overlay.Endpoint{{ID: "e1", Network: "aaaaaaaaaaaa", Addrs: []netip.Addr{addr("10.1.0.2")}, Phase: overlay.Joined, Name: "c1"}},
				Peers: map[string][]overlay.Attachment{"aaaaaaaaaaaa": {{
					Network: "aaaaaaaaaaaa", Host: "h2",
					Endpoints: []overlay.PeerEndpoint{{ID: "e2", Addrs: []netip.Addr{addr("10.1.0.2")}}, {ID: "e3", Addrs: []netip.Addr{addr("10.1.0.3")}}},
				}}},
			},
			Own:    []overlay.Attachment{{Network: "aaaaaaaaaaaa", Host: "h1"}},
			Hosts:  []control.HostState{{Host: h2, Since: start, Silent: true}},
			Store:  control.Store{URL: "consul://192.0.2.100:8500", Reachable: true, Since: start},
			Keys:   control.Keys{Generation: 3, Count: 2},
			Fast:   control.FastPath{Open: true, Sent: 11, Received: 12, Local: 13, SentDirect: 14, ReceivedDirect: 15},
			Direct: control.Direct{Takes: true, Hosts: []control.DirectHost{{Host: "h2", Direct: []string{"a"}}, {Host: "h3", Direct: []string{"a"}, Tunnel: []string{"b"}}}},
			Docker: control.Docker{Mirroring: true, Connected: true, Since: start},
			Passes: control.Passes{Count: 7, Repairs: 3, Last: start, Took: time.Millisecond, Errors: []string{"no memory"}},
		},
		Pools: []ipam.Usage{
			{Subnet: prefix("10.1.0.0/24"), Network: "aaaaaaaaaaaa", Name: "web", Size: 254, Free: 240, Used: 1, Stock: 7, Target: 8, Lost: 1},
			{Subnet: prefix("10.9.0.0/24"), Size: 254, Free: 254},
		},
		Behind: 1500 * time.Millisecond,
		Names:  &dns.Status{Sandboxes: 3, Answering: 2},
		Push:   push.Stats{Sent: 1, Received: 2, Refused: 3, Fetches: 9, FetchesFailed: 5},
	}
}

// serve runs m until the test ends, and gives its URL.
func serve(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	l, err := metrics.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + l.Addr().String() + "/metrics"
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// busy is a registry to which everything has happened once, as a scrape shows it.
func busy(t *testing.T) (text string, families map[string]*dto.MetricFamily) {
	t.Helper()
	log, hook := test.NewNullLogger()
	m := metrics.New(state, log)
	for _, method := range []string{"NetworkDriver.Join", "NetworkDriver.CreateEndpoint", "IpamDriver.RequestAddress"} {
		m.Call(method, 3*time.Millisecond, nil)
		m.Call(method, 4*time.Second, errors.New("no"))
	}
	m.Pass(reconcile.Pass{Verify: true, Took: time.Millisecond, Repairs: 3})
	m.Pass(reconcile.Pass{Took: time.Millisecond, Failed: true})
	for _, err := range []error{
		nil, kvstore.ErrNotFound, &kvstore.ConflictError{}, kvstore.ErrUnavailable, kvstore.ErrDenied,
		kvstore.ErrClosed, context.Canceled, kvstore.ErrInvalid,
	} {
		if err != nil {
			err = fmt.Errorf("get x: %w", err)
		}
		m.Request("get", 2*time.Millisecond, err)
	}
	m.Request("wait", 20*time.Second, nil)
	m.Applied("hosts", time.Millisecond, nil)
	m.Applied("networks", time.Millisecond, errors.New("no"))
	m.Returned(20 * time.Millisecond)
	for _, e := range []ipam.Event{ipam.FromStock, ipam.Waited, ipam.Named, ipam.Lost} {
		m.Address(e)
	}
	for _, o := range []dns.Outcome{dns.Answered, dns.Forwarded, dns.Failed, dns.Refused, dns.Dropped} {
		m.Query(o, time.Millisecond)
		m.Unread(7)
	}
	status, text := get(t, serve(t, m))
	if status != http.StatusOK || hook.LastEntry() != nil {
		t.Fatalf("status %d, log %v", status, hook.LastEntry())
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return text, families
}

func TestScrape(t *testing.T) {
	text, _ := busy(t)
	for _, want := range []string{
		`weft_docker_call_duration_seconds_count{method="NetworkDriver.Join",result="ok"} 1`,
		`weft_docker_call_duration_seconds_bucket{method="NetworkDriver.Join",result="error",le="5"} 1`,
		`weft_docker_call_duration_seconds_bucket{method="NetworkDriver.Join",result="error",le="2.5"} 0`,
		`weft_pass_duration_seconds_count{kind="verify",result="ok"} 1`,
		`weft_pass_duration_seconds_count{kind="change",result="error"} 1`,
		`weft_pass_duration_seconds_count{kind="verify",result="error"} 0`,
		`weft_drifted_passes_total 1`,
		`weft_repairs_total 3`,
		`weft_store_request_duration_seconds_count{request="get",result="ok"} 1`,
		`weft_store_request_duration_seconds_count{request="get",result="absent"} 1`,
		`weft_store_request_duration_seconds_count{request="get",result="conflict"} 1`,
		`weft_store_request_duration_seconds_count{request="get",result="unavailable"} 1`,
		`weft_store_request_duration_seconds_count{request="get",result="denied"} 1`,
		`weft_store_request_duration_seconds_count{request="get",result="ended"} 2`,
		`weft_store_request_duration_seconds_count{request="get",result="error"} 1`,
		`weft_store_reachable 1`,
		`weft_watch_lag_seconds_sum 0.02`,
		`weft_watch_behind_seconds 1.5`,
		`weft_watch_apply_duration_seconds_count{result="error",watch="networks"} 1`,
		`weft_addresses_handed_out_total{from="stock"} 1`,
		`weft_addresses_lost_total 1`,
		`weft_pool_stock_addresses{network="web",network_id="aaaaaaaaaaaa",subnet="10.1.0.0/24"} 7`,
		`weft_pool_free_addresses{network="",network_id="",subnet="10.9.0.0/24"} 254`,
		`weft_fast_path_packets_total{way="sent_direct"} 14`,
		`weft_fast_path_packets_total{way="received_direct"} 15`,
		`weft_direct_hosts{way="direct"} 1`,
		`weft_direct_hosts{way="both"} 1`,
		`weft_direct_hosts{way="tunnel"} 0`,
		`weft_hosts{state="live"} 1`,
		`weft_hosts{state="down"} 1`,
		`weft_hosts_silent 1`,
		`weft_push_datagrams_total{what="refused"} 3`,
		`weft_push_fetches_total{result="error"} 5`,
		`weft_networks{state="ok"} 1`,
		`weft_networks{state="removing"} 0`,
		`weft_network_endpoints{network="web",network_id="aaaaaaaaaaaa",where="here"} 1`,
		`weft_network_endpoints{network="web",network_id="aaaaaaaaaaaa",where="elsewhere"} 2`,
		`weft_network_hosts{network="not ? UTF-8",network_id="bbbbbbbbbbbb"} 0`,
		`weft_duplicate_addresses 1`,
		`weft_docker_connected 1`,
		`weft_pass_errors 1`,
		`weft_last_pass_timestamp_seconds 1.7723664e+09`,
		`weft_dns_query_duration_seconds_count{outcome="failed"} 1`,
		`weft_dns_sandboxes{state="answering"} 2`,
		`weft_dns_unread_queries_total 35`,
		`weft_dns_sandboxes{state="silent"} 1`,
		`weft_build_info{commit="abc",go_version="go`,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no line %s", want)
		}
	}
	for _, gone := range []string{"c1", "e1", "e2"} {
		if strings.Contains(text, `"`+gone+`"`) {
			t.Errorf("%q is a label", gone)
		}
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("no %s", name)
		}
	}
	faults, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Errorf("%s: %s", f.Metric, f.Text)
	}
}

func TestAHostWithoutDockerAndNames(t *testing.T) {
	log, _ := test.NewNullLogger()
	m := metrics.New(func() metrics.State {
		s := state()
		s.Names, s.Docker, s.Passes, s.Store.Reachable = nil, control.Docker{}, control.Passes{}, false
		return s
	}, log)
	_, text := get(t, serve(t, m))
	for _, want := range []string{`weft_last_pass_timestamp_seconds 0`, `weft_store_reachable 0`, `weft_hosts{state="unknown"} 1`} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no line %s", want)
		}
	}
	if strings.Contains(text, "weft_dns_sandboxes") || strings.Contains(text, "weft_docker_connected") {
		t.Error("what is not there is shown")
	}
}

func TestOnlyTheMetricsAreServed(t *testing.T) {
	log, _ := test.NewNullLogger()
	url := serve(t, metrics.New(state, log))
	for path, want := range map[string]int{"/metrics": 200, "/": 404, "/debug/pprof/": 404} {
		if got, _ := get(t, strings.TrimSuffix(url, "/metrics")+path); got != want {
			t.Errorf("%s: status %d, want %d", path, got, want)
		}
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().String()
	_, err = metrics.Listen(t.Context(), at)
	if want := "--metrics " + at + ": the port is taken by another process; choose another port, or end that process"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	_, err = metrics.Listen(t.Context(), "192.0.2.99:9477")
	if err == nil || !strings.Contains(err.Error(), "this host does not have that address") {
		t.Errorf("got %v", err)
	}
}

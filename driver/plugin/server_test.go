package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/plugin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type args struct {
	Name string
	List []string
}

// serve runs a server with a few methods and gives a function that posts to it.
func serve(t *testing.T) func(method, body string) (int, map[string]any) {
	t.Helper()
	log, _ := test.NewNullLogger()
	s := plugin.NewServer(log, nil)
	s.Implements("NetworkDriver")
	s.Implements("IpamDriver")
	plugin.Handle(s, "T.Echo", func(_ context.Context, a *args) (*args, error) { return a, nil })
	plugin.Handle(s, "T.None", func(context.Context, *plugin.None) (*plugin.None, error) { return &plugin.None{}, nil })
	plugin.Handle(s, "T.Fail", func(context.Context, *args) (*args, error) { return nil, errors.New("subnet 10.0.0.0/8 is taken") })
	plugin.Handle(s, "T.Panic", func(context.Context, *args) (*args, error) { panic("boom") })

	path := filepath.Join(t.TempDir(), "weft.sock")
	l, err := plugin.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(method, body string) (int, map[string]any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://weft/"+method, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%s answers %q: %v", method, b, err)
		}
		return resp.StatusCode, v
	}
}

func TestActivate(t *testing.T) {
	status, v := serve(t)("Plugin.Activate", "")
	if status != 200 || len(v["Implements"].([]any)) != 2 {
		t.Errorf("got %d %v", status, v)
	}
}

func TestAnswers(t *testing.T) {
	post := serve(t)
	tests := []struct {
		name, method, body string
		status             int
		sentence           string // part of both error fields
	}{
		{"a good call", "T.Echo", `{"Name":"x","Unknown":{"a":1}}`, 200, ""},
		{"names in any case", "T.Echo", `{"name":"x"}`, 200, ""},
		{"no arguments", "T.None", ``, 200, ""},
		{"arguments nobody asked for", "T.None", `{"a":1}`, 200, ""},
		{"an empty body", "T.Echo", ``, 400, "body is empty"},
		{"a truncated body", "T.Echo", `{"Name":"x`, 400, "no JSON object"},
		{"two objects", "T.Echo", `{} {}`, 400, "no JSON object"},
		{"null", "T.Echo", `null`, 400, "no JSON object"},
		{"a list", "T.Echo", `[]`, 400, "no JSON object"},
		{"a wrong type", "T.Echo", `{"Name":5}`, 400, "does not fit"},
		{"a wrong type inside", "T.Echo", `{"List":[1]}`, 400, "does not fit"},
		{"a huge body", "T.Echo", `{"Name":"` + strings.Repeat("x", 1<<20) + `"}`, 400, "more than 1048576 bytes"},
		{"a deep body", "T.Echo", strings.Repeat(`{"a":`, 100_000), 400, "no JSON object"},
		{"a refusal", "T.Fail", `{}`, 500, "subnet 10.0.0.0/8 is taken"},
		{"a panic", "T.Panic", `{}`, 500, "failed inside weft: boom"},
		{"an unknown method", "T.Nothing", `{}`, 404, "no method"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, v := post(tt.method, tt.body)
			if status != tt.status {
				t.Errorf("status %d, want %d: %v", status, tt.status, v)
			}
			for _, field := range []string{"Err", "Error"} {
				text, _ := v[field].(string)
				if (tt.sentence == "") != (text == "") || !strings.Contains(text, tt.sentence) {
					t.Errorf("%s is %q, want %q in it", field, text, tt.sentence)
				}
			}
		})
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugins", "weft.sock")
	l, err := plugin.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket's mode is %v, %v", info.Mode(), err)
	}
	if _, err := plugin.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second listener got %v", err)
	}
	stale := filepath.Join(t.TempDir(), "weft.sock")
	old, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	l2, err := plugin.Listen(t.Context(), stale)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	l2.Close()
}

// A call under way is answered although the end was asked for.
func TestRunDrains(t *testing.T) {
	log, _ := test.NewNullLogger()
	s := plugin.NewServer(log, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	plugin.Handle(s, "T.Slow", func(ctx context.Context, _ *plugin.None) (*plugin.None, error) {
		close(entered)
		<-release
		return &plugin.None{}, ctx.Err()
	})
	path := filepath.Join(t.TempDir(), "weft.sock")
	l, err := plugin.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /T.Slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	cancel()
	close(release)
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
		t.Errorf("got %q, %v", answer[:n], err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

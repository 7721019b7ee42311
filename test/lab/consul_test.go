package lab_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

func TestConsulServers(t *testing.T) {
	l := up(t, lab.Config{Name: "consul", Hosts: 1, Consuls: 3, NoWeft: true})
	put := func(c *lab.Consul, value string) {
		t.Helper()
		if _, err := consulKV(t, l, c, "PUT", value); err != nil {
			t.Fatal(err)
		}
	}
	put(l.Consul(1), "one")
	// A wiped server learns everything again from the others.
	if err := l.Consul(1).Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.Consul(1).Running() {
		t.Error("consul1 runs after Wipe")
	}
	if err := l.Consul(2).AwaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(l.Consul(2), "two")
	if err := l.Consul(1).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := consulKV(t, l, l.Consul(1), "GET", ""); err != nil || got != "two" {
		t.Errorf("the wiped server answers %q, %v, want two", got, err)
	}
	// Without a majority a server starts, but has no leader to wait for.
	for i := 1; i <= 3; i++ {
		if err := l.Consul(i).Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i <= 3; i++ {
		if err := l.Consul(i).Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := consulKV(t, l, l.Consul(3), "GET", ""); err != nil || got != "two" {
		t.Errorf("after a restart of all, %q, %v, want two", got, err)
	}
}

// consulKV reads or writes one key, from h1, until the servers agree.
func consulKV(t *testing.T, l *lab.Lab, c *lab.Consul, method, body string) (string, error) {
	t.Helper()
	url := c.URL() + "/v1/kv/test?raw"
	var out string
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		out, err = consulKVOnce(t, l, method, url, body)
		if err == nil {
			return out, nil
		}
	}
	return out, err
}

// consulKVOnce makes one request of Consul's key-value API from h1's network.
func consulKVOnce(t *testing.T, l *lab.Lab, method, url, body string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	text, err := l.Host("h1").Do(req)
	return string(text), err
}

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// parse reads a command line and an environment as `weft serve` does.
func parse(t *testing.T, env map[string]string, args ...string) (config, error) {
	t.Helper()
	var c config
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.flags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := fromEnvironment(f, func(name string) (string, bool) { v, ok := env[name]; return v, ok }); err != nil {
		return c, err
	}
	return c, c.validate()
}

func TestTheSocketFollowsTheName(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   []string
		socket string
		err    string // a word of it
	}{
		{"by default", nil, "/run/docker/plugins/weft.sock", ""},
		{"of another name", []string{"--name=lan"}, "/run/docker/plugins/lan.sock", ""},
		{"of a managed plugin", []string{"--name=weft:latest", "--socket=/run/docker/plugins/weft.sock"}, "/run/docker/plugins/weft.sock", ""},
		{"of one from a registry", []string{"--name=registry.example:5000/net/weft:1.2", "--socket=/x.sock"}, "/x.sock", ""},
		{"of a managed plugin, not given", []string{"--name=weft:latest"}, "", "--socket"},
		{"of no name", []string{"--name=weft latest", "--socket=/x.sock"}, "", "--name"},
		{"relative", []string{"--socket=x.sock"}, "", "--socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(t, nil, tt.args...)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got %v, want %q", err, tt.err)
			}
			if err == nil && c.Socket != tt.socket {
				t.Errorf("got %s, want %s", c.Socket, tt.socket)
			}
		})
	}
}

func TestTheEnvironment(t *testing.T) {
	c, err := parse(t, map[string]string{
		"WEFT_POOL": "10.1.0.0/16:24, fd00:1::/48:64", "WEFT_MTU": "", "WEFT_STORE": "", "WEFT_HOST": "from-env", "WEFT_DOCKER": "",
	}, "--host=from-flag")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.1.0.0/16:24", "fd00:1::/48:64"}, c.Pools); diff != "" {
		t.Error(diff)
	}
	if c.Store != defaultStore || c.MTU != 0 || c.Host != "from-flag" || c.Docker != "" {
		t.Errorf("got store %q, MTU %d, host %q, Docker %q", c.Store, c.MTU, c.Host, c.Docker)
	}
}

func TestTheNameThatAHostHas(t *testing.T) {
	for _, tt := range []struct {
		what, flag, recorded, machine string
		want                          string // "": it is refused
	}{
		{"a new host", "", "", "node7", "node7"},
		{"a new host with a domain", "", "", "node7.example.org", "node7.example.org"},
		{"a new host that is told its name", "h1", "", "node7", "h1"},
		{"a machine that was renamed", "", "h1", "node7", "h1"},
		{"a machine without a name yet", "", "h1", "localhost", "h1"},
		{"a machine with a name that a key may not have", "", "h1", "a/b c", "h1"},
		{"a host that is told the name that it has", "h1", "h1", "node7", "h1"},
		{"a host that has been called so until now", "localhost", "localhost", "localhost", "localhost"},
		{"a host that is told another name", "h2", "h1", "h2", ""},
		{"a new host without a name", "", "", "", ""},
		{"a new host on localhost", "", "", "localhost", ""},
		{"a new host on localhost with a domain", "", "", "localhost.localdomain", ""},
		{"a new host that is told to be localhost", "localhost", "", "node7", ""},
		{"a new host with a slash", "", "", "a/b", ""},
		{"a new host with a blank", "", "", "a b", ""},
		{"a new host with other letters", "", "", "größe", ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := config{Host: tt.flag, StateDir: "/var/lib/weft"}
			err := c.nameHost(tt.recorded, func() (string, error) { return tt.machine, nil })
			if tt.want == "" && (err == nil || !strings.Contains(err.Error(), "--host")) {
				t.Errorf("got %q, %v, want a sentence with --host", c.Host, err)
			}
			if tt.want != "" && (err != nil || c.Host != tt.want) {
				t.Errorf("got %q, %v, want %q", c.Host, err, tt.want)
			}
		})
	}
}

func TestMetricsTakeAHostAndAPort(t *testing.T) {
	for _, address := range []string{"", ":9477", "127.0.0.1:9477", "[2001:db8::1]:9477", "localhost:65535"} {
		if _, err := parse(t, nil, "--metrics="+address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"9477", "127.0.0.1", "127.0.0.1:", ":0", ":65536", ":http", "2001:db8::1:9477", "http://h1:9477"} {
		_, err := parse(t, nil, "--metrics="+address)
		if err == nil || !strings.Contains(err.Error(), "it takes HOST:PORT") {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestTheStockHasBounds(t *testing.T) {
	for text, good := range map[string]bool{"0": true, "8": true, "64": true, "-1": false, "65": false} {
		_, err := parse(t, map[string]string{"WEFT_STOCK": text})
		if good && err != nil || !good && (err == nil || !strings.Contains(err.Error(), "it takes 0 to 64 addresses")) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestTheFastPathIsAutoOnOrOff(t *testing.T) {
	for text, good := range map[string]bool{"": true, "auto": true, "on": true, "off": true, "yes": false, "ON": false} {
		_, err := parse(t, map[string]string{"WEFT_FAST_PATH": text})
		if good && err != nil || !good && (err == nil || !strings.Contains(err.Error(), "it takes auto, on or off")) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// What is not understood ends with status 2, a sentence, and nothing made.
func TestBadInputIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ args, want string }{
		{"", "say what to do, for example weft-lab up; weft-lab --help lists the rest"},
		{"bogus", `unknown command "bogus" for "weft-lab"`},
		{"up --bogus", "unknown flag: --bogus"},
		{"up h1", `unknown command "h1" for "weft-lab up"`},
		{"up --hosts 0", "a lab without hosts or without Consul is no lab: give --hosts 1 or more and --consul 1 or 3"},
		{"up --hosts 1000", "cannot make 1000 hosts: a lab has 1 to 240"},
		{"up --hosts -1", "cannot make -1 hosts: a lab has 1 to 240"},
		{"up --consul 2", "cannot make 2 Consul servers: a lab has 1 or 3"},
		{"up --dockerd /nowhere/dockerd", "cannot use /nowhere/dockerd as dockerd: it is not an executable file"},
		{"up --docker latest", `cannot make a host with Docker "latest": a version is written as 28.5 or 29`},
		{"--lab A_B up", `"A_B" is not a lab name: use lower-case letters, digits and dashes, at most 31`},
		{"--lab A_B down", `"A_B" is not a lab name: use lower-case letters, digits and dashes, at most 31`},
		{"--dir /run/labs up", "a lab cannot live in /run/labs: every host has its own /run; choose another directory"},
		{"exec h1", "say on which host and what to run: weft-lab exec h1 -- docker ps"},
		{"shell", "say on which host: weft-lab shell h1"},
		{"cut h1", "say between which two: weft-lab cut h1 consul1"},
		{"kill --signal FOO h1 weft", `"FOO" is not a signal`},
		{"ps", "there is no lab in " + dir + "/default; make one with weft-lab up"},
		{"start h1 weft", "there is no lab in " + dir + "/default; make one with weft-lab up"},
		{"scene", "there is no lab in " + dir + "/default; make one with weft-lab up"},
	} {
		t.Run(c.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := strings.Fields(c.args)
			if !strings.Contains(c.args, "--dir") {
				args = append([]string{"--dir", dir}, args...)
			}
			code := run(t.Context(), args, &stdout, &stderr)
			if got, want := stderr.String(), "weft-lab: "+c.want+"\n"; code != 2 || got != want || stdout.Len() > 0 {
				t.Errorf("status %d, printed %q and %q; want 2 and %q", code, stdout.String(), got, want)
			}
		})
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDownWithoutLab(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"--dir", t.TempDir(), "down"}, &stdout, &stderr)
	if want := "there is no lab default\n"; code != 0 || stderr.String() != want {
		t.Errorf("status %d, printed %q; want 0 and %q", code, stderr.String(), want)
	}
}

// The commands on a real lab, as a person types them.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	play := func(code int, want string, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		got := run(t.Context(), append([]string{"--dir", dir}, args...), &stdout, &stderr)
		if got != code || !strings.Contains(stdout.String()+stderr.String(), want) {
			t.Errorf("weft-lab %s: status %d, want %d with %q; printed\n%s%s",
				strings.Join(args, " "), got, code, want, stdout.String(), stderr.String())
		}
	}
	defer play(0, "", "down")
	play(0, "weft-lab shell h1", "up", "--hosts", "2", "--no-weft")
	play(2, "already exists", "up", "--hosts", "2", "--no-weft")
	play(0, "busybox", "exec", "h1", "--", "docker", "image", "ls")
	play(0, "h2", "exec", "h2", "hostname")
	play(7, "", "exec", "h2", "--", "sh", "-c", "exit 7")
	play(2, `the lab default has no "h3"; it has consul1, h1, h2`, "exec", "h3", "--", "true")
	play(2, "h1 has no weft: the lab default was made without it", "kill", "h1", "weft")
	play(2, "the scene needs weft", "scene")
	play(0, `"service": "dockerd"`, "ps", "--json")
	play(0, "", "kill", "consul1")
	play(0, "down", "ps")
	play(1, "consul1 does not run", "kill", "consul1")
	play(0, "", "start", "consul1")
	play(0, "", "cut", "h1", "h2")
	play(1, "100% packet loss", "exec", "h1", "--", "ping", "-c1", "-W1", "h2")
	play(0, "", "heal")
	// h1 may be in the second between two ARP requests.
	play(0, " 0% packet loss", "exec", "h1", "--", "ping", "-c1", "-W3", "h2")
	play(0, "API listen on", "logs", "h1", "dockerd")
	play(0, "", "power", "h1", "off")
	play(2, "does not exist any more", "start", "h1", "dockerd")
	play(0, "", "power", "h1", "on")
	play(2, "h1 is on", "power", "h1", "on")
	play(2, "neither off nor on", "power", "h1", "down")
	play(0, "", "start", "h1", "dockerd")
	play(0, "busybox", "exec", "h1", "--", "docker", "image", "ls")
	play(0, " 0% packet loss", "exec", "h1", "--", "ping", "-c1", "-W3", "h2")
}

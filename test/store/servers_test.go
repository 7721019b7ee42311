package store

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/test/whole"
)

// kill kills a server; it runs again when the test ends at the latest.
func kill(t *testing.T, i int) {
	t.Helper()
	c := cluster.Consul(i)
	must(t, c.Kill(t.Context()))
	t.Cleanup(func() {
		if !c.Running() {
			must(t, c.Start(context.WithoutCancel(t.Context())))
		}
	})
}

// refusalTime is how long a refusal may take: 3 s are weft's, the rest is for
// Docker and its client on a busy machine.
const refusalTime = 3500 * time.Millisecond

// refused says that an attempt failed soon, and because of the store.
func refused(t *testing.T, what string, began time.Time, err error) {
	t.Helper()
	took := time.Since(began).Round(10 * time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "store") {
		t.Errorf("%s: %v", what, err)
		return
	}
	t.Logf("%s is refused after %v: %v", what, took, err)
	if took > refusalTime {
		t.Errorf("%s was refused after %v", what, took)
	}
}

// untilRefused starts containers on a host that are reached from h2, until the
// host's stock is used up, and gives the last one's name.
func (s *scene) untilRefused(host string) (last string) {
	s.t.Helper()
	for n := 0; ; n++ {
		name, began := fmt.Sprintf("%s-%d", s.n, n), time.Now()
		_, err := cluster.Host(host).Docker(s.t.Context(), s.line(name)...)
		if err == nil && n < 40 {
			docker(s.t, "h2", "exec", s.box("h2"), "ping", "-c1", "-W2", name)
			last = name
			continue
		}
		refused(s.t, fmt.Sprintf("container %d", n+1), began, err)
		if n < inStock {
			s.t.Fatalf("%d containers have started, not %d", n, inStock)
		}
		return last
	}
}

// inStock is how many addresses a host has in stock of a network at least, at any
// moment, see ipam/stock.go.
const inStock = 8

// Without one of the followers all goes on, on the host too that asks it.
func TestFollowerKilled(t *testing.T) {
	s := newScene(t)
	i := leader(t)%len(cluster.Consuls()) + 1
	kill(t, i)
	for host := range s.ips {
		s.start(host, s.n+"-late-"+host)
		s.published(host, s.n+"-late-"+host)
		docker(t, host, "network", "create", "-d", "weft", "--ipam-driver", "weft", s.n+"-"+host)
		docker(t, host, "network", "rm", s.n+"-"+host)
	}
	must(t, cluster.Consul(i).Start(t.Context()))
	s.survived()
}

// While the leader is killed and another one is found, containers start on every
// host.
func TestLeaderKilled(t *testing.T) {
	s := newScene(t)
	i := leader(t)
	done := make(chan struct{})
	var runs sync.WaitGroup
	for host := range s.ips {
		runs.Go(func() {
			for n := 0; ; n++ {
				if _, err := cluster.Host(host).Docker(t.Context(), "run", "--rm", "--network", s.n, "busybox", "true"); err != nil {
					t.Errorf("%s: %v", host, err)
				}
				select {
				case <-done:
					t.Logf("%s: %d containers", host, n+1)
					return
				default:
				}
			}
		})
	}
	kill(t, i)
	eventually(t, 20*time.Second, "another server leads", func() error {
		if j := leader(t); j == i {
			return fmt.Errorf("consul%d seems to lead", j)
		}
		return nil
	})
	time.Sleep(time.Second)
	close(done)
	runs.Wait()
	s.start("h2", s.n+"-late")
	s.published("h2", s.n+"-late")
	must(t, cluster.Consul(i).Start(t.Context()))
	s.survived()
}

// Without a quorum containers start from stock and are reached by name, what
// needs the store is refused soon and in a sentence, and all is published at once
// when it is back.
func TestQuorumLost(t *testing.T) {
	s := newScene(t, "--subnet", "10.77.0.0/16", "--ip-range", "10.77.0.0/24")
	time.Sleep(time.Second) // stock is filled
	kill(t, 1)
	kill(t, 2)
	last := s.untilRefused("h1")
	docker(t, "h3", "exec", s.box("h3"), "ping", "-c1", "-W2", last)
	began := time.Now()
	_, err := cluster.Host("h1").Docker(t.Context(), "network", "create", "-d", "weft", "--ipam-driver", "weft", s.n+"-new")
	refused(t, "a new network", began, err)
	docker(t, "h1", "create", "--name", s.n+"-chosen", "--label", "scene="+s.n, "--network", s.n, "--ip", "10.77.1.250", "busybox", "true")
	began = time.Now()
	_, err = cluster.Host("h1").Docker(t.Context(), "start", s.n+"-chosen")
	refused(t, "a chosen address", began, err)
	if st := weft(t, "h1"); st.Store.Reachable || len(st.Problems) == 0 {
		t.Errorf("weft says that the store answers: %+v", st)
	}
	for _, i := range []int{1, 2} {
		must(t, cluster.Consul(i).Start(t.Context()))
	}
	leader(t)
	s.published("h1", last)
	s.survived()
}

// Servers that refuse most requests slow down what needs them, and nothing else.
func TestRateLimited(t *testing.T) {
	s := newScene(t)
	limit := func(rate int) {
		setLimits(rate)
		for i := range cluster.Consuls() {
			if _, err := consul(t, i+1, http.MethodPut, "/v1/agent/reload", nil); err != nil {
				t.Error(err)
			}
		}
	}
	level := func(level string) {
		for _, h := range cluster.Hosts() {
			must(t, whole.Cluster{Lab: cluster}.Control(h.Name()).LogLevel(t.Context(), level))
		}
	}
	level("debug") // tells of each request that a server refuses
	defer level("info")
	refusals := func() int { return logged(t, "rate limit exceeded") }
	before := refusals()
	limit(1)
	defer limit(0)
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); {
		for host := range s.ips {
			docker(t, host, "run", "--rm", "--network", s.n, "busybox", "true")
		}
	}
	s.names()
	n := refusals() - before
	t.Logf("%d requests of weft's were refused", n)
	if n == 0 {
		t.Error("the servers refused weft nothing")
	}
	limit(0)
	s.start("h3", s.n+"-late")
	s.published("h3", s.n+"-late")
	s.survived()
}

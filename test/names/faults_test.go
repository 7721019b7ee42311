package names

import (
	"errors"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// trio is a container, one beside it on its host, and one on the other host.
func trio(t *testing.T, name string) (asks box, near, far string) {
	t.Helper()
	n := network(t, name)
	asks = start(t, "h1", "asks", "--network", n)
	near = start(t, "h1", "near", "--network", n).ip(n)
	far = start(t, "h2", "far", "--network", n).ip(n)
	asks.finds("near", dns.TypeA, near)
	asks.finds("far", dns.TypeA, far)
	return asks, near, far
}

func TestKilledWeftLeavesDockersResolver(t *testing.T) {
	b, near, far := trio(t, "killed")
	b.stoodInFor("far")
	h := cluster.Host("h1")
	if err := h.Kill(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Start(t.Context(), lab.Weft) })
	began := time.Now()
	b.soon(10*time.Second, "near", dns.TypeA, near)
	t.Logf("names of the same host after %s without weft", time.Since(began))
	b.finds("far", dns.TypeA, "SERVFAIL")
	if err := h.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	b.soon(5*time.Second, "far", dns.TypeA, far)
	t.Logf("all names after %s with weft", time.Since(began))
}

func TestHangingWeftLeavesDockersResolver(t *testing.T) {
	b, near, far := trio(t, "hangs")
	h := cluster.Host("h1")
	if err := h.Signal(lab.Weft, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = h.Signal(lab.Weft, unix.SIGCONT) }
	t.Cleanup(resume)
	began := time.Now()
	eventually(t, 10*time.Second, "a name of the same host", func() error {
		c := b.dial("udp4")
		defer c.Close()
		if got := ask(c, "near", dns.TypeA, 100*time.Millisecond); got != near {
			return errors.New(got)
		}
		return nil
	})
	t.Logf("names of the same host after %s of hanging", time.Since(began))
	resume()
	b.soon(5*time.Second, "far", dns.TypeA, far)
}

func TestRestartOfWeftLosesNoQuery(t *testing.T) {
	b, near, far := trio(t, "restart")
	h := cluster.Host("h1")
	stop, asked := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				asked <- n
				return
			default:
				b.finds("near", dns.TypeA, near)
			}
		}
	}()
	for range 3 {
		if err := h.Stop(t.Context(), lab.Weft); err != nil {
			t.Error(err)
		}
		if err := b.untouched(); err != nil {
			t.Error(err)
		}
		if err := h.Start(t.Context(), lab.Weft); err != nil {
			t.Error(err)
		}
		b.soon(5*time.Second, "far", dns.TypeA, far)
	}
	close(stop)
	t.Logf("%d queries", <-asked)
}

func TestHangingDockerIsWaitedForWithABound(t *testing.T) {
	b, _, far := trio(t, "docker-hangs")
	h := cluster.Host("h1")
	if err := h.Signal(lab.Dockerd, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = h.Signal(lab.Dockerd, unix.SIGCONT) }
	t.Cleanup(resume)
	began := time.Now()
	b.finds("example.com", dns.TypeA, "SERVFAIL")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("SERVFAIL after %s", took)
	}
	began = time.Now()
	b.finds("far", dns.TypeA, far)
	if took := time.Since(began); took > time.Second {
		t.Errorf("a name of ours after %s", took)
	}
	resume()
	b.soon(5*time.Second, "example.com", dns.TypeA, "NXDOMAIN")
}

func TestDockerMayStartAgainUnderRunningContainers(t *testing.T) {
	b, near, far := trio(t, "live-restore")
	h := cluster.Host("h1")
	for _, end := range []func() error{
		func() error { return h.Stop(t.Context(), lab.Dockerd) },
		func() error { return h.Kill(t.Context(), lab.Dockerd) },
	} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		b.finds("far", dns.TypeA, far)
		b.finds("example.com", dns.TypeA, "SERVFAIL")
		if err := h.Start(t.Context(), lab.Dockerd); err != nil {
			t.Fatal(err)
		}
		b.finds("far", dns.TypeA, far)
		b.finds("near", dns.TypeA, near)
		b.soon(5*time.Second, "example.com", dns.TypeA, "NXDOMAIN")
	}
}

package recovery

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// bootTime is how long Docker takes until it answers, which is when it has
// started its containers.
func bootTime(t *testing.T, h *lab.Host, boot func() error) time.Duration {
	t.Helper()
	if err := h.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := boot(); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// After a host has lost its power, in whatever order its programs start, its
// containers with a restart policy run again, under their addresses and names,
// and Docker starts as fast as with its own networks.
func TestBoot(t *testing.T) {
	const boxes = 4
	h1, plain, consul := cluster.Host("h1"), cluster.Host("h7"), cluster.Consul(1)
	start := func(s lab.Service) error { return h1.Start(t.Context(), s) }
	weftFirst := func(h *lab.Host) error {
		if err := h.Start(t.Context(), lab.Weft); err != nil {
			return err
		}
		return h.Start(t.Context(), lab.Dockerd)
	}
	inOrder := func() error { return weftFirst(h1) }
	for i := range boxes {
		container(t, "h7", "bridge", fmt.Sprint("own", i), "--restart=always")
	}
	usually := func(t *testing.T) time.Duration {
		t.Helper()
		took := bootTime(t, plain, func() error { return weftFirst(plain) })
		t.Logf("with %d containers on Docker's bridge, Docker starts in %s", boxes, took.Round(10*time.Millisecond))
		return took
	}
	usual := usually(t)

	n := network(t, "--subnet", "10.83.0.0/24", "--ip-range", "10.83.0.128/25")
	far := container(t, "h2", n, "far")
	var all []box
	for i := range boxes - 1 {
		all = append(all, container(t, "h1", n, fmt.Sprint("b", i), "--restart=always"))
	}
	all = append(all, container(t, "h1", n, "fixed", "--restart=unless-stopped", "--ip=10.83.0.77"))
	time.Sleep(time.Second) // names are told
	for _, tt := range []struct {
		name string
		late time.Duration // of weft, that Docker waits for
		boot func() error
	}{
		{"weft, then Docker", 0, inOrder},
		{"both at once", 2 * time.Second, func() error {
			both := make(chan error, 1)
			go func() { both <- start(lab.Dockerd) }()
			return errors.Join(start(lab.Weft), <-both)
		}},
		{"Docker, then weft", 7 * time.Second, func() error {
			docker := make(chan error, 1)
			go func() { docker <- start(lab.Dockerd) }()
			time.Sleep(3 * time.Second)
			return errors.Join(start(lab.Weft), <-docker)
		}},
		{"without Consul", 0, func() error {
			if err := consul.Stop(t.Context()); err != nil {
				return err
			}
			return inOrder()
		}},
		{"without a network", 0, func() error {
			sh(t, "h1", "ip address flush dev eth0 && ip link set eth0 down")
			return inOrder()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			took := bootTime(t, h1, tt.boot)
			t.Logf("Docker starts in %s", took.Round(10*time.Millisecond))
			// A driver that is asked for in vain costs 15 s for each network
			// and each endpoint.
			most := func() time.Duration { return 2*usual + tt.late + 5*time.Second }
			if took > most() { // the machine may be slower than it was
				usual = max(usual, usually(t))
			}
			if took > most() {
				t.Errorf("Docker started in %s, want at most %s", took, most())
			}
			for i := range all {
				if out := docker(t, "h1", "inspect", "-f", "{{.State.Status}} {{.State.Error}}", all[i].name); out != "running" {
					t.Errorf("%s is %s", all[i].name, out)
				}
				all[i].ip = all[i].address()
			}
			if fixed := all[boxes-1]; fixed.ip != "10.83.0.77" {
				t.Errorf("%s has %s", fixed.name, fixed.ip)
			}
			if tt.name == "without a network" {
				for _, b := range all {
					if err := b.reaches(all[0]); err != nil {
						t.Error(err)
					}
				}
				sh(t, "h1", fmt.Sprintf("ip link set eth0 up && ip address add %s/%d dev eth0 && ip route add default via 198.51.100.1", h1.Addr(), lab.Underlay.Bits()))
				eventually(t, 10*time.Second, "the network is there", func() error { return all[0].reaches(far) })
			}
			for _, b := range all {
				if err := b.reaches(far); err != nil {
					t.Error(err)
				}
				eventually(t, 10*time.Second, b.name+" is found from h2", func() error { return far.finds(b) })
				eventually(t, 10*time.Second, b.name+" finds its neighbour", func() error { return b.finds(all[0]) })
			}
		})
	}
	if err := consul.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		b.Remove()
	}
	eventually(t, 15*time.Second, "a network can be made", func() error {
		_, err := h1.Docker(t.Context(), "network", "create", "-d", "weft", "--ipam-driver", "weft", n+"-after")
		return err
	})
	docker(t, "h1", "network", "rm", n+"-after")
}

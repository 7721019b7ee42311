package recovery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// emptied is a network without containers.
const emptied = "missed-empty"

// missed is a host where Docker removes a container and a network while weft is
// not there.
var missed = &scene{name: "missed", host: "h3", over: make(chan error, 1), play: func(ctx context.Context, _ *lab.Lab, h *lab.Host) error {
	if err := furnish(ctx, h, "missed", "10.81.0.0/24"); err != nil {
		return err
	}
	if _, err := h.Docker(ctx, "network", "create", "-d", "weft", "--ipam-driver", "weft", emptied); err != nil {
		return err
	}
	time.Sleep(time.Second) // other hosts are told
	if err := h.Kill(ctx, lab.Weft); err != nil {
		return err
	}
	network := make(chan error, 1)
	go func() { // Docker waits for weft in both
		_, err := h.Docker(ctx, "network", "rm", emptied)
		network <- err
	}()
	_, err := h.Docker(ctx, "rm", "-f", "missed")
	return errors.Join(err, <-network)
}}

// What Docker did while weft was away is found out by asking it: a container is
// gone everywhere then. A network is not, since others may use it, and is made
// here again.
func TestMissedCalls(t *testing.T) {
	h3 := missed.end(t)
	if !containers(t, "h1")[missed.name] {
		t.Fatalf("h1 does not know %s of h3, whose weft could not tell that it is gone", missed.name)
	}
	if _, err := h3.Docker(t.Context(), "network", "inspect", emptied); err == nil {
		t.Fatalf("Docker has not removed %s", emptied)
	}
	before := record(t, "h1", emptied)
	if err := h3.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "no host knows it any more", func() error {
		for _, host := range []string{"h1", "h3"} {
			if containers(t, host)[missed.name] {
				return fmt.Errorf("%s does", host)
			}
		}
		return nil
	})
	eventually(t, 45*time.Second, "the network is there again", func() error { // 30 s of it weft's, to be sure
		_, err := h3.Docker(t.Context(), "network", "inspect", emptied)
		return err
	})
	for _, host := range []string{"h1", "h3"} {
		if now := record(t, host, emptied); now != before {
			t.Errorf("the network is %s on %s, and was %s", now, host, before)
		}
	}
	docker(t, "h3", "run", "--rm", "--network", emptied, "busybox", "true")
	docker(t, "h3", "network", "rm", emptied)
	eventually(t, 10*time.Second, "it is gone from h1", func() error {
		if _, err := cluster.Host("h1").Docker(t.Context(), "network", "inspect", emptied); err == nil {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

// record is what weft on the host says of the network that must not change.
func record(t *testing.T, host, name string) string {
	t.Helper()
	type network struct {
		ID, Name, State string
		VNI             uint32
		Subnets         []string
	}
	for _, n := range weft[[]network](t, host, "network", "ls") {
		if n.Name == name {
			return fmt.Sprintf("%+v", n)
		}
	}
	t.Fatalf("%s does not know %s", host, name)
	return ""
}

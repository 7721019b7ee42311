package recovery

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// late is a host on which weft does not run when Docker starts. Docker waits
// for it, 15 s for each network and endpoint, and gives the container up.
var late = &scene{name: "late", host: "h4", over: make(chan error, 1), play: func(ctx context.Context, _ *lab.Lab, h *lab.Host) error {
	if err := furnish(ctx, h, "late", "10.82.0.0/24", "--ip=10.82.0.77", "--restart=always"); err != nil {
		return err
	}
	if err := h.PowerOff(ctx); err != nil {
		return err
	}
	if err := h.PowerOn(ctx); err != nil {
		return err
	}
	return h.Start(ctx, lab.Dockerd)
}}

// gaveUp is what Docker says of the container then; since 28 it says in what.
var gaveUp = regexp.MustCompile(`^exited: (failed to set up container networking: )?plugin "weft" not found$`)

// A container that Docker gave up at its start since weft was not there runs
// soon after weft does, with its address and its name.
func TestWeftComesTooLate(t *testing.T) {
	h4 := late.end(t)
	if state, err := h4.Docker(t.Context(), "inspect", "-f", "{{.State.Status}}: {{.State.Error}}", late.name); err != nil || !gaveUp.MatchString(state) {
		t.Fatalf("Docker says of a container that it gave up %q (%v)", state, err)
	}
	if err := h4.Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the container runs", func() error {
		state, err := h4.Docker(t.Context(), "inspect", "-f", `{{.State.Status}} {{(index .NetworkSettings.Networks "late").IPAddress}}`, late.name)
		if err == nil && state != "running 10.82.0.77" {
			err = fmt.Errorf("it is %q", state)
		}
		return err
	})
	asks := container(t, "h2", late.name, "asks")
	eventually(t, 5*time.Second, "it is found", func() error { return asks.Ping(late.name) })
}

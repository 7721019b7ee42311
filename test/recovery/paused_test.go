package recovery

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// paused is a host whose weft and Docker do nothing for so long that it is taken
// for dead, as when a machine is suspended. Its containers go on, which is the worst.
var paused = &scene{name: "paused", host: "h5", over: make(chan error, 1), play: func(ctx context.Context, l *lab.Lab, h *lab.Host) error {
	if err := furnish(ctx, h, "paused", "10.84.0.0/24", "--ip=10.84.0.77"); err != nil {
		return err
	}
	time.Sleep(time.Second)
	// A machine that is suspended takes no connection for a weft that does nothing.
	if _, err := h.Run(ctx, slices.Concat([]string{"iptables", "-I"}, asleep)...); err != nil {
		return err
	}
	for _, s := range []lab.Service{lab.Weft, lab.Dockerd} {
		if err := h.Signal(s, unix.SIGSTOP); err != nil {
			return err
		}
	}
	began := time.Now()
	for i, line := range []string{`its names are withdrawn until it is heard again, its packets go on." host=h5`, `A host is down: nothing is sent to it, and nothing taken from it, until it is back." host=h5`} {
		for {
			log, err := os.ReadFile(l.Host("h2").Log(lab.Weft))
			if err != nil {
				return err
			}
			if strings.Contains(string(log), line) {
				noticed[i] = time.Since(began)
				break
			}
			if time.Since(began) > time.Minute {
				return fmt.Errorf("after a minute h2 does not say %q", line)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}}

// asleep has the host's kernel take no connection from another weft.
var asleep = []string{"INPUT", "-p", "tcp", "--dport", "7947", "-j", "DROP"}

// noticed is when h2 withdrew the host's names, and stopped sending to it.
var noticed [2]time.Duration

// A host that wakes up after its addresses were freed and one was taken loses
// the container that had it, says so, and disturbs the new owner with no packet.
func TestPausedForTooLong(t *testing.T) {
	h5 := paused.end(t)
	t.Logf("its names were withdrawn after %s, and it was down after %s", noticed[0].Round(10*time.Millisecond), noticed[1].Round(10*time.Millisecond))
	if noticed[0] > 7*time.Second || noticed[1] > 30*time.Second {
		t.Error("that is too long")
	}
	eventually(t, 60*time.Second, "the host may be forgotten", func() error {
		_, err := cluster.Host("h1").Run(t.Context(), "weft", "host", "forget", "h5")
		return err
	})
	asks := container(t, "h1", paused.name, "asks")
	owner := container(t, "h2", paused.name, "owner", "--ip=10.84.0.77")
	stop := asks.pings(owner)
	if _, err := h5.Run(t.Context(), slices.Concat([]string{"iptables", "-D"}, asleep)...); err != nil {
		t.Fatal(err)
	}
	for _, s := range []lab.Service{lab.Dockerd, lab.Weft} {
		if err := h5.Signal(s, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 30*time.Second, "the container that lost its address is out of the network", func() error {
		list, err := h5.Docker(t.Context(), "network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", paused.name)
		if err == nil && slices.Contains(strings.Fields(list), paused.name) {
			err = fmt.Errorf("the network has %q", list)
		}
		return err
	})
	eventually(t, 5*time.Second, "the log says so", func() error {
		if logged(t, "h5", "its address is another host's") == 0 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	eventually(t, 30*time.Second, "the host is live again", func() error {
		for _, h := range weft[[]struct{ Name, State string }](t, "h1", "host", "ls") {
			if h.Name == "h5" && h.State == "live" {
				return nil
			}
		}
		return fmt.Errorf("it is not")
	})
	if sent, lost := stop(); lost > 0 {
		t.Errorf("of %d packets to the new owner, %d were lost", sent, lost)
	}
}

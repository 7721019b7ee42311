package labtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/test/lab"
)

// Box is a container of one test.
type Box struct {
	TB      testing.TB
	Host    *lab.Host
	Name    string
	Network string
}

// Start starts a busybox that idles in the network, and removes it after the test.
// Without a network it is in that of args, or in Docker's default.
func Start(tb testing.TB, h *lab.Host, network, name string, args ...string) Box {
	tb.Helper()
	b := Box{TB: tb, Host: h, Name: name, Network: network}
	tb.Cleanup(b.Remove)
	run := []string{"run", "-d", "--name", name}
	if network != "" {
		run = append(run, "--network", network)
	}
	Docker(tb, h, slices.Concat(run, args, []string{lab.Image, "sleep", "100000"})...)
	return b
}

// Remove removes the container, if it is there.
func (b Box) Remove() {
	b.TB.Helper()
	_, err := b.Host.Docker(context.WithoutCancel(b.TB.Context()), "rm", "-f", b.Name)
	if err != nil && !strings.Contains(err.Error(), "No such container") {
		b.TB.Errorf("remove container %s: %v", b.Name, err)
	}
}

// Address is what Docker says of the container in its network: IPAddress,
// GlobalIPv6Address or MacAddress.
func (b Box) Address(field string) string {
	b.TB.Helper()
	return Docker(b.TB, b.Host, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).%s}}", b.Network, field), b.Name)
}

// Run runs a command in the container.
func (b Box) Run(args ...string) (string, error) {
	return b.Host.Docker(b.TB.Context(), append([]string{"exec", b.Name}, args...)...)
}

// Ping says why the container does not reach the name or address with its first
// packet.
func (b Box) Ping(to string) error {
	if out, err := b.Run("ping", "-c1", "-W2", to); err != nil {
		return fmt.Errorf("%s does not reach %s: %w: %s", b.Name, to, err, out)
	}
	return nil
}

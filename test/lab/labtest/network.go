package labtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// Network makes a network of weft's on the host, and removes it there after the test.
// The other hosts get it a moment later: see Mirrored.
func Network(tb testing.TB, h *lab.Host, name string, args ...string) {
	tb.Helper()
	Docker(tb, h, slices.Concat([]string{"network", "create", "-d", "weft", "--ipam-driver", "weft"}, args, []string{name})...)
	tb.Cleanup(func() {
		if _, err := h.Docker(context.WithoutCancel(tb.Context()), "network", "rm", name); err != nil {
			tb.Errorf("remove network %s: %v", name, err)
		}
	})
}

// Mirrored waits until the Dockers of all the hosts have the network.
func Mirrored(tb testing.TB, limit time.Duration, name string, hosts ...*lab.Host) {
	tb.Helper()
	for _, h := range hosts {
		Eventually(tb, limit, h.Name()+" has network "+name, func() error { return HasNetwork(tb, h, name) })
	}
}

// Gone waits until the Docker of none of the hosts has the network.
func Gone(tb testing.TB, limit time.Duration, name string, hosts ...*lab.Host) {
	tb.Helper()
	Eventually(tb, limit, "network "+name+" is gone everywhere", func() error {
		for _, h := range hosts {
			if err := LacksNetwork(tb, h, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// HasNetwork says why the host's Docker does not have the network.
func HasNetwork(tb testing.TB, h *lab.Host, name string) error {
	tb.Helper()
	status, err := inspect(tb, h, name)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("Docker of %s says %d of network %s", h.Name(), status, name)
	}
	return err
}

// LacksNetwork says why it is not certain that the host's Docker does not have the
// network.
func LacksNetwork(tb testing.TB, h *lab.Host, name string) error {
	tb.Helper()
	status, err := inspect(tb, h, name)
	if err == nil && status != http.StatusNotFound {
		err = errors.New(h.Name() + " still has it")
	}
	return err
}

// inspect gives the status of Docker's answer to `docker network inspect`, without the
// client: who waits asks often, and the client's start takes a CPU as long as a
// hundred questions.
func inspect(tb testing.TB, h *lab.Host, name string) (status int, err error) {
	tb.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(tb.Context()), http.MethodGet, "http://docker/networks/"+url.PathEscape(name), nil)
	if err != nil {
		return 0, err
	}
	client := h.DockerClient()
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return answer.StatusCode, nil
}

// Stock waits until the host knows of addresses of the network that another host keeps
// ahead of use, and gives them. Of each of the network's subnets there is one at least.
func Stock(tb testing.TB, h *lab.Host, network, of string) (stock []netip.Addr) {
	tb.Helper()
	Eventually(tb, 10*time.Second, h.Name()+" knows the stock of "+of, func() error {
		n := Weft[[]struct {
			Record struct {
				Subnets []struct{ Prefix netip.Prefix }
			}
			On []struct {
				Host  string
				Stock []netip.Addr
			}
		}](tb, h, "network", "inspect", network)[0]
		stock = nil
		for _, on := range n.On {
			if on.Host == of {
				stock = on.Stock
			}
		}
		for _, s := range n.Record.Subnets {
			if !slices.ContainsFunc(stock, s.Prefix.Contains) {
				return fmt.Errorf("of %v it has none in %v", s.Prefix, stock)
			}
		}
		return nil
	})
	return stock
}

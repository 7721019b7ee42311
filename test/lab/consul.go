package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const consulPort = 8500

// Consul is one Consul server.
type Consul struct {
	member
	agent *service
}

func newConsul(l *Lab, i int) *Consul {
	c := &Consul{member: member{lab: l, name: fmt.Sprintf("consul%d", i+1), number: firstConsul + i}}
	c.agent = &service{
		member: &c.member, name: "consul", argv: c.line(), ready: c.answers, patience: 30 * time.Second,
	}
	return c
}

func (c *Consul) line() []string {
	line := []string{
		c.lab.settings.Consul, "agent", "-server",
		"-node", c.name,
		// A wiped server comes back as itself and not as a stranger who
		// claims its name.
		"-node-id", fmt.Sprintf("198b51c1-0000-4000-8000-%012d", c.number),
		"-bind", c.Addr().String(),
		"-client", c.Addr().String() + " 127.0.0.1",
		"-data-dir", c.data(),
		"-bootstrap-expect", fmt.Sprint(c.lab.settings.Consuls),
		"-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-tls-port", "-1",
		// Elections in about a second, as in production; the default of 5
		// is for very small machines.
		"-hcl", "performance { raft_multiplier = 1 }",
		"-hcl", "disable_update_check = true",
	}
	if n := c.lab.settings.Consuls; n > 1 {
		// Autopilot takes a server that is away for some seconds out of the
		// quorum, and has it back after ten seconds or more without a vote: the
		// next one to go would take the quorum along.
		line = append(line, "-hcl", fmt.Sprintf("autopilot { min_quorum = %d }", n))
		for i := range n {
			peer := member{number: firstConsul + i}
			line = append(line, "-retry-join", peer.Addr().String(), "-retry-interval", "1s")
		}
	}
	return append(line, c.lab.settings.ConsulArgs...)
}

func (c *Consul) data() string { return filepath.Join(c.Dir(), "data") }

// URL returns the address of the server's HTTP API, reachable inside the lab.
func (c *Consul) URL() string { return fmt.Sprintf("http://%s:%d", c.Addr(), consulPort) }

// Log returns the path of the server's log.
func (c *Consul) Log() string { return c.agent.Log() }

// Running reports whether the server's process exists.
func (c *Consul) Running() bool { return c.PID() != 0 }

// PID returns the server's process id, 0 if it does not run.
func (c *Consul) PID() int { return c.agent.PID() }

// Start starts the server and waits until it answers and, when a majority of
// the servers now runs, knows a leader.
func (c *Consul) Start(ctx context.Context) error {
	if err := c.agent.Start(ctx); err != nil {
		return err
	}
	running := 0
	for _, other := range c.lab.consuls {
		if other.Running() {
			running++
		}
	}
	if 2*running <= len(c.lab.consuls) {
		return nil
	}
	return c.AwaitLeader(ctx)
}

// Kill ends the server with SIGKILL and returns when it is gone.
func (c *Consul) Kill(ctx context.Context) error { return c.agent.Kill(ctx) }

// Stop ends the server with SIGTERM and returns when it is gone.
func (c *Consul) Stop(ctx context.Context) error { return c.agent.Stop(ctx) }

// Signal sends the server any signal, such as SIGSTOP, and does not wait.
func (c *Consul) Signal(sig unix.Signal) error { return c.agent.Signal(sig) }

// Wipe kills the server and removes all it ever stored. Start brings it back
// empty.
func (c *Consul) Wipe(ctx context.Context) error {
	if err := c.Kill(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(c.data()); err != nil {
		return fmt.Errorf("wipe %s: %w", c.name, err)
	}
	return nil
}

// AwaitLeader waits, at most 30 s, until the server knows a leader.
func (c *Consul) AwaitLeader(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := until(waiting, func() error {
		leader, err := c.Leader(waiting)
		if err == nil && leader == "" {
			err = errors.New("no leader")
		}
		return err
	})
	if ctx.Err() != nil {
		return fmt.Errorf("wait for %s: %w", c.name, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("%s found no leader: %w; its log ends:\n%s", c.name, err, tail(c.Log()))
	}
	return nil
}

func (c *Consul) answers(ctx context.Context) error {
	_, err := c.Leader(ctx)
	return err
}

// Leader asks the server for the leader's address and port, empty while it knows
// of none.
func (c *Consul) Leader(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	text, err := c.Request(ctx, http.MethodGet, "/v1/status/leader", nil)
	if err != nil {
		return "", err
	}
	var leader string
	return leader, json.Unmarshal(text, &leader)
}

// Request makes a request of the server's HTTP API, of 10 s at most, and gives the
// answer; any status but 200 is an error.
func (c *Consul) Request(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.URL()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return c.Do(r)
}

// startConsuls starts every server and waits until each knows the leader.
func (l *Lab) startConsuls(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range l.consuls {
		group.Go(func() error {
			if err := c.agent.Start(ctx); err != nil {
				return err
			}
			return c.AwaitLeader(ctx)
		})
	}
	return group.Wait()
}

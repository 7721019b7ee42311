package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/test/lab"
)

// sceneNetwork and the containers bbox1, bbox2, .. are what the scene makes.
const sceneNetwork = "ov_net1"

func sceneCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "scene",
		Short: "Play the first steps with weft on a running lab and check each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := at.open()
			if err != nil {
				return err
			}
			if len(l.Hosts()) < 2 {
				return usage{errors.New("the scene needs two hosts; make the lab with weft-lab up --hosts 3")}
			}
			if !slices.Contains(l.Hosts()[0].Services(), lab.Weft) {
				return usage{errors.New("the scene needs weft; make the lab without --no-weft")}
			}
			s := &scene{lab: l, out: cmd.OutOrStdout()}
			if err := s.play(cmd.Context()); err != nil {
				return fmt.Errorf("the scene does not hold: %w", err)
			}
			fmt.Fprintf(s.out, "\nEvery step held.\n%s", howToPlay(l))
			return nil
		},
	}
}

// scene plays commands on the hosts, each printed as a person would see it.
type scene struct {
	lab *lab.Lab
	out io.Writer
}

// step is how long one command may take before the scene gives up.
const step = time.Minute

func (s *scene) play(ctx context.Context) error {
	hosts := s.lab.Hosts()
	if err := s.clear(ctx); err != nil {
		return err
	}
	if _, err := s.docker(ctx, hosts[0], "network", "create", "-d", "weft", "--ipam-driver", "weft", sceneNetwork); err != nil {
		return err
	}
	if err := s.mirrored(ctx, hosts[1]); err != nil {
		return err
	}
	first, err := s.join(ctx, hosts[0], "bbox1")
	if err != nil {
		return err
	}
	second, err := s.join(ctx, hosts[1], "bbox2")
	if err != nil {
		return err
	}
	if err := s.ping(ctx, hosts[0], "bbox1", second); err != nil {
		return err
	}
	if err := s.ping(ctx, hosts[0], "bbox1", "bbox2"); err != nil {
		return err
	}
	if err := s.routes(ctx, hosts[1], "bbox2"); err != nil {
		return err
	}
	if err := s.addresses(ctx, hosts[1], "bbox2", second); err != nil {
		return err
	}
	if len(hosts) < 3 {
		return nil
	}
	if _, err := s.join(ctx, hosts[2], "bbox3"); err != nil {
		return err
	}
	if err := s.ping(ctx, hosts[2], "bbox3", first); err != nil {
		return err
	}
	return s.ping(ctx, hosts[2], "bbox3", second)
}

// mirrored checks that the network appears on another host within a second.
func (s *scene) mirrored(ctx context.Context, h *lab.Host) error {
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	list, err := h.Docker(ctx, "network", "ls")
	for err == nil && !listed(list) && time.Since(began) < time.Second {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			list, err = h.Docker(ctx, "network", "ls")
		}
	}
	took := time.Since(began)
	s.print(h, []string{"network", "ls"}, list)
	if err != nil {
		return err
	}
	if !listed(list) {
		return fmt.Errorf("%s does not have the network %s within a second", h.Name(), sceneNetwork)
	}
	s.note("%s has it, %d ms after it was created on %s", h.Name(), took.Milliseconds(), s.lab.Hosts()[0].Name())
	return nil
}

// listed reports whether docker network ls printed the scene's network.
func listed(list string) bool {
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == sceneNetwork {
			return true
		}
	}
	return false
}

// join starts a container on the network and returns its address.
func (s *scene) join(ctx context.Context, h *lab.Host, name string) (string, error) {
	if _, err := s.docker(ctx, h, "run", "-itd", "--name", name, "--network", sceneNetwork, "busybox"); err != nil {
		return "", err
	}
	addr, err := h.Docker(ctx, "inspect", "-f", "{{(index .NetworkSettings.Networks \""+sceneNetwork+"\").IPAddress}}", name)
	if err == nil && addr == "" {
		err = fmt.Errorf("%s on %s has no address in %s", name, h.Name(), sceneNetwork)
	}
	return addr, err
}

// ping wants every answer: the first packet counts as much as the third.
func (s *scene) ping(ctx context.Context, h *lab.Host, from, to string) error {
	out, err := s.docker(ctx, h, "exec", from, "ping", "-c3", to)
	if err != nil {
		return err
	}
	if !strings.Contains(out, "3 packets transmitted, 3 packets received") {
		return fmt.Errorf("%s on %s did not get 3 of 3 answers from %s", from, h.Name(), to)
	}
	return nil
}

// routes checks that the container leaves through docker_gwbridge on eth1 and
// reaches its network on eth0.
func (s *scene) routes(ctx context.Context, h *lab.Host, name string) error {
	out, err := s.docker(ctx, h, "exec", name, "ip", "r")
	if err != nil {
		return err
	}
	config, err := h.Docker(ctx, "network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", sceneNetwork)
	if err != nil {
		return err
	}
	gateway, err := h.Docker(ctx, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "docker_gwbridge")
	if err != nil {
		return err
	}
	subnet, _, _ := strings.Cut(config, " ")
	for _, want := range []string{"default via " + gateway + " dev eth1", subnet + " dev eth0"} {
		if !strings.Contains(out, want) {
			return fmt.Errorf("%s on %s lacks the route %q", name, h.Name(), want)
		}
	}
	return nil
}

// addresses checks that eth0 carries the address Docker shows.
func (s *scene) addresses(ctx context.Context, h *lab.Host, name, addr string) error {
	out, err := s.docker(ctx, h, "exec", name, "ip", "addr")
	if err != nil {
		return err
	}
	device := ""
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); !strings.HasPrefix(line, " ") && len(f) > 1 {
			device, _, _ = strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
		}
		if device == "eth0" && strings.Contains(line, "inet "+addr+"/") {
			return nil
		}
	}
	return fmt.Errorf("eth0 of %s on %s lacks the address %s", name, h.Name(), addr)
}

// clear removes what an earlier run left, everywhere.
func (s *scene) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for i, h := range s.lab.Hosts() {
		box := fmt.Sprintf("bbox%d", i+1)
		if _, err := h.Docker(ctx, "container", "inspect", box); err != nil {
			continue // there is none
		}
		if _, err := s.docker(ctx, h, "rm", "-f", box); err != nil {
			return err
		}
	}
	for i, h := range s.lab.Hosts() {
		// What is removed on the first host leaves the others by itself.
		patience := 2 * time.Second
		if i == 0 {
			patience = 0
		}
		if err := s.removeNetwork(ctx, h, patience); err != nil {
			return err
		}
	}
	return nil
}

// removeNetwork waits until h has no network of the scene, and asks for it
// after patience.
func (s *scene) removeNetwork(ctx context.Context, h *lab.Host, patience time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began, asked := time.Now(), false
	var refused error
	for {
		list, err := h.Docker(ctx, "network", "ls")
		if err != nil {
			return err
		}
		if !listed(list) {
			return nil
		}
		if !asked && time.Since(began) >= patience {
			// It may be leaving already, so the refusal alone says nothing.
			_, refused = s.docker(ctx, h, "network", "rm", sceneNetwork)
			asked = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the network %s of an earlier run does not leave %s: %w", sceneNetwork, h.Name(), errors.Join(refused, ctx.Err()))
		case <-tick.C:
		}
	}
}

// docker plays one command.
func (s *scene) docker(ctx context.Context, h *lab.Host, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, step)
	defer cancel()
	out, err := h.Docker(ctx, args...)
	s.print(h, args, out)
	return out, err
}

func (s *scene) print(h *lab.Host, args []string, out string) {
	fmt.Fprintf(s.out, "%s$ docker %s\n", h.Name(), strings.Join(args, " "))
	if out != "" {
		fmt.Fprintln(s.out, out)
	}
}

func (s *scene) note(format string, args ...any) {
	fmt.Fprintf(s.out, "# "+format+"\n", args...)
}

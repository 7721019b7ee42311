package chaos

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/whole"
)

// spare is how much more than at the start may be held at the end: what the
// daemon does at a moment, and connections kept for a while.
const spare = 6

// settleIdle notes what a weft holds at most with nothing to do.
func (r *runner) settleIdle(ctx context.Context) {
	time.Sleep(2 * time.Second)
	for _, h := range r.cluster.Hosts() {
		u, err := r.cluster.Usage(ctx, h.Name())
		if err != nil {
			r.history.fail(time.Now(), "%v", err)
		}
		if r.first[h.Name()], err = kernelHas(ctx, h); err != nil {
			r.history.fail(time.Now(), "%v", err)
		}
		r.idle = whole.Usage{Goroutines: max(r.idle.Goroutines, u.Goroutines), Files: max(r.idle.Files, u.Files)}
	}
	r.Say("idle: %+v", r.idle)
}

// clear removes all containers and networks, and waits until nothing is left.
func (r *runner) clear(ctx context.Context) {
	r.history.note(time.Now(), "remove everything")
	for _, h := range r.cluster.Hosts() {
		if err := h.RemoveContainers(ctx); err != nil {
			r.history.fail(time.Now(), "remove all containers: %v", err)
		}
	}
	nets, err := r.cluster.DockerNetworks(ctx, "h1")
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
	}
	hosts := r.cluster.Hosts()
	i := 0
	for name := range nets {
		// The store has to know first that the last container is gone.
		r.await(ctx, 5*time.Second, name+" unused", func() []string { return r.users(ctx, name) })
		i++
		if _, err := hosts[i%len(hosts)].Docker(ctx, "network", "rm", name); err != nil {
			r.history.fail(time.Now(), "remove network %s: %v", name, err)
		}
	}
	r.await(ctx, leakTime, "empty", func() []string { return r.left(ctx) })
}

// users are the endpoints that any host believes to be in the network.
func (r *runner) users(ctx context.Context, network string) []string {
	var out []string
	for _, h := range r.cluster.Hosts() {
		list, err := r.cluster.Control(h.Name()).Endpoints(ctx, control.Filter{Network: network})
		if err != nil {
			out = append(out, err.Error())
		}
		for _, e := range list {
			out = append(out, fmt.Sprintf("%s sees endpoint %.12s of %s in it", h.Name(), e.ID, e.Host))
		}
	}
	return out
}

// left says what is left of weft's though nothing is there any more.
func (r *runner) left(ctx context.Context) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, h := range r.cluster.Hosts() {
		if list, err := h.Docker(ctx, "network", "ls", "--filter", driverArg, "--format", "{{.Name}}"); err != nil || list != "" {
			say("Docker on %s has networks %q (%v)", h.Name(), strings.Fields(list), err)
		}
		have, err := kernelHas(ctx, h)
		more := slices.DeleteFunc(have, func(s string) bool { return slices.Contains(r.first[h.Name()], s) })
		if err != nil || len(more) > 0 {
			say("the kernel of %s has %q (%v)", h.Name(), more, err)
		}
		u, err := r.cluster.Usage(ctx, h.Name())
		if err != nil || u.Goroutines > r.idle.Goroutines+spare || u.Files > r.idle.Files+spare {
			say("weft on %s holds %+v, and when idle at the start %+v (%v)", h.Name(), u, r.idle, err)
		}
	}
	records, err := r.cluster.Records(ctx)
	if err != nil {
		say("%v", err)
	}
	return append(out, whole.StoreDiffers(records, nil, nil)...)
}

// dockers is the name of a link of Docker's own, which a killed dockerd leaves,
// or of a firewall table that it makes with its first container, from 28 on.
var dockers = regexp.MustCompile(`^(docker_gwbridge|veth[0-9a-f]{7}|table ip6? raw)$`)

// kernelHas names the links, the namespaces and the firewall tables of a host.
// What Docker makes for itself is not told: dockers, and /run/docker/netns/default.
func kernelHas(ctx context.Context, h *lab.Host) ([]string, error) {
	var out []string
	for _, command := range []string{"ls /sys/class/net", "findmnt --list --noheadings --types nsfs --output TARGET", "nft list tables"} {
		text, err := h.Run(ctx, strings.Fields(command)...)
		if err != nil && !strings.HasPrefix(command, "findmnt") { // which fails if there is none
			return nil, err
		}
		for name := range strings.Lines(text) {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return slices.DeleteFunc(out, func(name string) bool {
		return dockers.MatchString(name) || strings.HasSuffix(name, "/docker/netns/default")
	}), nil
}

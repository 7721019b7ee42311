package chaos

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// usage is what a weft holds.
type usage struct{ goroutines, files int }

// spare is how much more than at the start may be held at the end: what the
// daemon does at a moment, and connections kept for a while.
const spare = 6

// settleIdle notes what a weft holds at most with nothing to do.
func (r *runner) settleIdle(ctx context.Context) {
	time.Sleep(2 * time.Second)
	for _, h := range r.Lab.Hosts() {
		u, err := r.usage(ctx, h)
		if err != nil {
			r.history.fail(time.Now(), "%v", err)
		}
		r.idle = usage{max(r.idle.goroutines, u.goroutines), max(r.idle.files, u.files)}
	}
	r.Say("idle: %+v", r.idle)
}

func (r *runner) usage(ctx context.Context, h *lab.Host) (usage, error) {
	var s status
	if err := r.weft(ctx, h.Name(), &s, "status"); err != nil {
		return usage{}, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.PID(lab.Weft)))
	return usage{goroutines: s.Goroutines, files: len(files)}, err
}

// clear removes all containers and networks, and waits until nothing is left.
func (r *runner) clear(ctx context.Context) {
	r.history.note(time.Now(), "remove everything")
	for _, h := range r.Lab.Hosts() {
		ids, err := h.Docker(ctx, "ps", "-aq")
		if err == nil && ids != "" {
			_, err = h.Docker(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
		}
		if err != nil {
			r.history.fail(time.Now(), "remove all containers: %v", err)
		}
	}
	nets, err := r.dockerNetworks(ctx, "h1")
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
	}
	hosts := r.Lab.Hosts()
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
	for _, h := range r.Lab.Hosts() {
		var list []struct {
			ID   string `json:"id"`
			Host string `json:"host"`
		}
		if err := r.weft(ctx, h.Name(), &list, "endpoint", "ls", "--network", network); err != nil {
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
	for _, h := range r.Lab.Hosts() {
		if list, err := h.Docker(ctx, "network", "ls", "--filter", driverArg, "--format", "{{.Name}}"); err != nil || list != "" {
			say("Docker on %s has networks %q (%v)", h.Name(), strings.Fields(list), err)
		}
		spaces, err := h.Run(ctx, "ls", "/run/netns")
		if err == nil && strings.Contains(spaces, "weft-") {
			say("%s has namespaces %q", h.Name(), strings.Fields(spaces))
		}
		links, err := h.Run(ctx, "ls", "/sys/class/net")
		if err != nil {
			say("%v", err)
		}
		for l := range strings.FieldsSeq(links) {
			if strings.HasPrefix(l, "wp") || strings.HasPrefix(l, "wc") || strings.HasPrefix(l, "vx") || strings.HasPrefix(l, "weft") {
				say("%s has link %s", h.Name(), l)
			}
		}
		u, err := r.usage(ctx, h)
		if err != nil || u.goroutines > r.idle.goroutines+spare || u.files > r.idle.files+spare {
			say("weft on %s holds %+v, and when idle at the start %+v (%v)", h.Name(), u, r.idle, err)
		}
	}
	records, err := r.records(ctx)
	if err != nil {
		say("%v", err)
	}
	wrong, strays := storeDiffers(records, nil, nil)
	// The pool of an address that waits for its time waits with it.
	wrong = slices.DeleteFunc(wrong, func(reason string) bool {
		return slices.ContainsFunc(r.strays, func(stray string) bool {
			pool, _, _ := strings.Cut(strings.TrimPrefix(stray, "addr/"), "/")
			return strings.HasPrefix(reason, tooMuch+" pool/"+pool+",")
		})
	})
	for _, s := range strays {
		if !slices.Contains(r.strays, s) { // these were there before, and have been told
			wrong = append(wrong, s+" is claimed, and nobody uses or keeps it")
		}
	}
	return append(out, wrong...)
}

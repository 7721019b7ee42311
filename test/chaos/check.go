package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/test/lab"
)

const (
	healTime  = 60 * time.Second  // from the last fault's end until all is whole
	leakTime  = 45 * time.Second  // from the last network's removal until nothing is left, idle connections included
	poolTime  = 150 * time.Second // from then until nothing is left that never became a network or a container
	calmTime  = 10 * time.Second  // without a repair, once all is whole
	driverArg = "driver=weft"
)

// heal ends all faults and waits until the cluster is whole.
func (r *runner) heal(ctx context.Context) bool {
	began := time.Now()
	r.history.note(began, "heal everything")
	if err := r.Lab.Heal(ctx); err != nil {
		r.history.fail(time.Now(), "heal: %v", err)
		return false
	}
	if err := r.Lab.Consul(1).Start(ctx); err != nil {
		r.history.fail(time.Now(), "heal: %v", err)
		return false
	}
	for _, h := range r.Lab.Hosts() {
		for _, s := range h.Services() {
			if err := h.Start(ctx, s); err != nil {
				r.history.fail(time.Now(), "heal: %v", err)
				return false
			}
		}
	}
	return r.await(ctx, healTime, "whole", func() []string {
		out, _ := r.broken(ctx)
		return slices.DeleteFunc(out, patient)
	})
}

// patient says that the reason is a pool or an endpoint that Docker has asked
// for and made nothing of, since one of them died in between. Weft waits for a
// minute or two before it believes that.
func patient(reason string) bool {
	return strings.HasPrefix(reason, tooMuch+" pool/") || strings.HasPrefix(reason, tooMuch+" endpoint ")
}

// await waits until there is no reason any more, and tells those that remain.
func (r *runner) await(ctx context.Context, limit time.Duration, what string, reasons func() []string) bool {
	began := time.Now()
	var last []string
	for {
		now := reasons()
		if len(now) == 0 {
			r.history.note(time.Now(), "%s after %s", what, time.Since(began).Round(time.Millisecond))
			r.Say("%s after %s", what, time.Since(began).Round(time.Millisecond))
			return true
		}
		if !slices.Equal(now, last) {
			r.history.note(time.Now(), "not %s yet: %s", what, strings.Join(now[:min(len(now), 8)], "; "))
		}
		last = now
		if time.Since(began) > limit || ctx.Err() != nil {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	for _, reason := range last {
		r.history.fail(time.Now(), "not %s within %s: %s", what, limit, reason)
	}
	return false
}

// dockerNetwork is what `docker network inspect` tells.
type dockerNetwork struct {
	Name string
	IPAM struct {
		Config []struct{ Subnet, Gateway string }
	}
	Containers map[string]struct{ EndpointID, Name, IPv4Address, IPv6Address string }
}

// dockerNetworks are the host's networks of weft by name.
func (r *runner) dockerNetworks(ctx context.Context, host string) (map[string]dockerNetwork, error) {
	ctx, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	ids, err := r.Lab.Host(host).Docker(ctx, "network", "ls", "-q", "--no-trunc", "--filter", driverArg)
	if err != nil || ids == "" {
		return nil, err
	}
	text, err := r.Lab.Host(host).Docker(ctx, append([]string{"network", "inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	var list []dockerNetwork
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	out := map[string]dockerNetwork{}
	for _, n := range list {
		if _, twice := out[n.Name]; twice {
			return nil, fmt.Errorf("Docker on %s has two networks %s", host, n.Name)
		}
		out[n.Name] = n
	}
	return out, nil
}

// broken says what is not whole, and what is stray in the store.
func (r *runner) broken(ctx context.Context) (out, strays []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	docker := map[string]map[string]dockerNetwork{}
	var first []network
	for i, h := range r.Lab.Hosts() {
		var s status
		if err := r.weft(ctx, h.Name(), &s, "status"); err != nil {
			say("%v", err)
			continue
		}
		if !s.Healthy || len(s.Warnings) > 0 || len(s.Passes.Errors) > 0 {
			say("weft status on %s: problems %q, warnings %q, errors %q", h.Name(), s.Problems, s.Warnings, s.Passes.Errors)
		}
		var list []network
		if err := r.weft(ctx, h.Name(), &list, "network", "ls"); err != nil {
			say("%v", err)
		}
		if i == 0 {
			first = list
		} else if !reflect.DeepEqual(first, list) {
			say("weft network ls on %s gives %v, and on h1 %v", h.Name(), list, first)
		}
		nets, err := r.dockerNetworks(ctx, h.Name())
		if err != nil {
			say("%v", err)
			continue
		}
		docker[h.Name()] = nets
		if len(nets) != len(list) {
			say("Docker on %s has %d networks of weft's, and weft %d", h.Name(), len(nets), len(list))
		}
		for _, n := range list {
			d, ok := nets[n.Name]
			if !ok || n.State != "ok" || n.Name == "" {
				say("network %q (%s) on %s is %s: %s (in Docker: %v)", n.Name, n.ID, h.Name(), n.State, n.Why, ok)
				continue
			}
			var subnets []netip.Prefix
			for _, c := range d.IPAM.Config {
				p, _ := netip.ParsePrefix(c.Subnet) // an invalid one differs
				subnets = append(subnets, p)
			}
			if !slices.Equal(subnets, n.Subnets) {
				say("network %s on %s has subnets %v in Docker, %v in the cluster", n.Name, h.Name(), subnets, n.Subnets)
			}
		}
	}
	all, err := r.spaces()
	if err != nil {
		say("%v", err)
	}
	out = append(out, duplicates(all)...)
	out = append(out, dockerDiffers(all, docker)...)
	records, err := r.records(ctx)
	if err != nil {
		return append(out, err.Error()), nil
	}
	wrong, strays := storeDiffers(records, first, docker)
	return append(out, wrong...), strays
}

// dockerDiffers says which containers have other addresses than Docker thinks.
func dockerDiffers(all []space, docker map[string]map[string]dockerNetwork) []string {
	want := map[string][]netip.Addr{}
	for host, nets := range docker {
		for _, n := range nets {
			for id, c := range n.Containers {
				for _, text := range []string{c.IPv4Address, c.IPv6Address} {
					if p, err := netip.ParsePrefix(text); err == nil {
						want[host+" "+id] = append(want[host+" "+id], p.Addr())
					}
				}
			}
		}
	}
	have := map[string][]netip.Addr{}
	for _, s := range all {
		if len(s.addrs) > 0 {
			have[s.host+" "+s.id] = slices.SortedFunc(slices.Values(s.addrs), netip.Addr.Compare)
		}
	}
	var out []string
	for key, addrs := range want {
		slices.SortFunc(addrs, netip.Addr.Compare)
		if !slices.Equal(have[key], addrs) {
			out = append(out, fmt.Sprintf("container %.15s has addresses %v, and Docker says %v", key, have[key], addrs))
		}
	}
	for key, addrs := range have {
		if want[key] == nil {
			out = append(out, fmt.Sprintf("container %.15s has addresses %v of which Docker knows nothing", key, addrs))
		}
	}
	slices.Sort(out)
	return out
}

// check looks at what must hold once all is whole.
func (r *runner) check(ctx context.Context) {
	before := r.repairs(ctx)
	began := time.Now()
	r.pingAll(ctx)
	time.Sleep(calmTime - time.Since(began))
	if after := r.repairs(ctx); !reflect.DeepEqual(before, after) {
		r.history.fail(time.Now(), "the kernel was repaired though nothing happened: %v, then %v", before, after)
	}
	r.await(ctx, poolTime, "without what came to nothing", func() []string {
		out, _ := r.broken(ctx)
		return slices.DeleteFunc(out, func(reason string) bool { return !patient(reason) })
	})
	out, strays := r.broken(ctx)
	r.strays = strays
	for _, reason := range out {
		r.history.fail(time.Now(), "whole no more: %s", reason)
	}
	if len(r.strays) > r.crashes {
		r.history.fail(time.Now(), "%d crashes have left %d addresses that nobody uses: %q", r.crashes, len(r.strays), r.strays)
	}
	r.Say("%d crashes have left %d addresses that nobody uses", r.crashes, len(r.strays))
	for _, h := range r.Lab.Hosts() {
		r.panics(h)
	}
}

func (r *runner) repairs(ctx context.Context) map[string]uint64 {
	out := map[string]uint64{}
	for _, h := range r.Lab.Hosts() {
		var s status
		if err := r.weft(ctx, h.Name(), &s, "status"); err != nil {
			r.history.fail(time.Now(), "%v", err)
		}
		out[h.Name()] = s.Passes.Repairs
	}
	return out
}

// panics looks for what no daemon's log should have.
func (r *runner) panics(h *lab.Host) {
	log, err := os.ReadFile(h.Log(lab.Weft))
	if err != nil {
		r.history.fail(time.Now(), "%v", err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.Contains(line, "DATA RACE") {
			r.history.fail(time.Now(), "weft's log on %s: %s", h.Name(), strings.TrimSpace(line))
		}
	}
}

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// space is a running container as the kernel has it. dockerd is not asked: it
// may be dead while its containers run.
type space struct {
	host, id string
	pid      int
	addrs    []netip.Addr // of weft's networks
}

// ours are the prefixes that weft's networks of a run are in.
var ours = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

// spaces finds the lab's containers by their cgroups.
func (r *runner) spaces() ([]space, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var out []space
	for _, file := range dirs {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, ok := strings.Cut(string(text), "/weft-lab-"+r.Lab.Name()+"-")
		parts := strings.Split(strings.TrimSpace(firstLine(rest)), "/")
		if !ok || len(parts) != 3 || len(parts[2]) != 64 {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || slices.ContainsFunc(out, func(s space) bool { return s.id == parts[2] }) {
			continue
		}
		s := space{host: parts[1], id: parts[2], pid: pid}
		if s.addrs, err = addresses(pid); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}

// addresses lists the process's network's addresses that are of weft.
func addresses(pid int) ([]netip.Addr, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	list, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if ok && slices.ContainsFunc(ours, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			out = append(out, ip)
		}
	}
	return out, nil
}

// duplicates says which addresses several containers have. Subnets do not
// overlap in a cluster, so any two are of one network.
func duplicates(all []space) []string {
	by := map[netip.Addr][]string{}
	for _, s := range all {
		for _, a := range s.addrs {
			by[a] = append(by[a], fmt.Sprintf("%.12s on %s", s.id, s.host))
		}
	}
	var out []string
	for a, who := range by {
		if len(who) > 1 {
			out = append(out, fmt.Sprintf("%s is of %s", a, strings.Join(who, " and ")))
		}
	}
	slices.Sort(out)
	return out
}

// watch looks for duplicates until ctx ends.
func (r *runner) watch(ctx context.Context) {
	told := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		all, err := r.spaces()
		if err != nil {
			continue
		}
		for _, d := range duplicates(all) {
			if !told[d] {
				told[d] = true
				r.history.fail(time.Now(), "duplicate address: %s", d)
			}
		}
	}
}

// weft runs a weft command on the host and decodes its JSON into v. That
// something is wrong there is no error.
func (r *runner) weft(ctx context.Context, host string, v any, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, ran := r.Lab.Host(host).Run(ctx, slices.Concat([]string{r.Weft}, args, []string{"--json"})...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("%s$ weft %s: %w: %.200q (%w)", host, strings.Join(args, " "), err, out, ran)
	}
	return nil
}

// status is what `weft status --json` says, as far as it is checked.
type status struct {
	Healthy    bool     `json:"healthy"`
	Problems   []string `json:"problems"`
	Warnings   []string `json:"warnings"`
	Goroutines int      `json:"goroutines"`
	Passes     struct {
		Repairs uint64   `json:"repairs"`
		Errors  []string `json:"errors"`
	} `json:"passes"`
}

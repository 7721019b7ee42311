package doctor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/driver/control"
)

// dialTime is how long another host may take to accept a connection: enough for
// one lost packet, which TCP sends again after 1 s.
const dialTime = 3 * time.Second

// firstBeat is how long a beat may be missing after the daemon's or the other host's
// start: hosts send one each second, once the store has told them of each other.
const firstBeat = 10 * time.Second

var pushCheck = Check{
	Name: "push", Code: 19, About: "other hosts are heard directly, and answer",
	After: []string{"sysctl", "firewall", "underlay"},
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		s, err := h.state()
		if err != nil {
			return nil, err
		}
		if !s.Snapshot.Self.Push.IsValid() {
			return nil, NotMade("this host does not speak with others directly (--push-port 0, or a store of its own)")
		}
		out := unheard(s, time.Now())
		var mu sync.Mutex
		var dials sync.WaitGroup
		for _, peer := range s.Hosts {
			if !peer.Live || !peer.Push.IsValid() {
				continue
			}
			dials.Go(func() {
				d := net.Dialer{Timeout: dialTime}
				conn, err := d.DialContext(ctx, "tcp", peer.Push.String())
				if err == nil {
					_ = conn.Close()
					return
				}
				mu.Lock()
				defer mu.Unlock()
				out = append(out, Finding{
					Object:   "host " + peer.Name,
					Problem:  fmt.Sprintf("%s does not reach host %s at TCP port %d of %s (%v), so what direct messages leave out comes through the store, later", h.self(), peer.Name, peer.Push.Port(), peer.Push.Addr(), err),
					Cure:     fmt.Sprintf("let TCP port %d pass between the hosts, and run weft doctor on host %s too", peer.Push.Port(), peer.Name),
					Severity: control.Broken,
				})
			})
		}
		dials.Wait()
		slices.SortFunc(out, func(a, b Finding) int { return slices.Compare([]byte(a.Object+a.Problem), []byte(b.Object+b.Problem)) })
		return out, nil
	},
}

// unheard are the hosts that hold their lease and are not heard directly.
func unheard(s control.State, now time.Time) []Finding {
	var out []Finding
	for _, peer := range s.Hosts {
		if !peer.Live || !peer.Push.IsValid() {
			continue
		}
		what, costs := "is not heard any more", "names of its containers are missing and changes come"
		switch {
		case peer.Silent:
		case peer.Heard.IsZero() && now.Sub(s.Started) > firstBeat && now.Sub(peer.Since) > firstBeat:
			what, costs = "has never been heard", "changes come"
		default:
			continue
		}
		out = append(out, Finding{
			Object:   "host " + peer.Name,
			Problem:  fmt.Sprintf("host %s lives, as the store says, but %s by host %s at UDP port %d, so %s through the store, later", peer.Name, what, s.Snapshot.Self.Name, s.Snapshot.Self.Push.Port(), costs),
			Cure:     fmt.Sprintf("let UDP port %d pass between the hosts, and run weft doctor on host %s too", s.Snapshot.Self.Push.Port(), peer.Name),
			Severity: control.Broken,
		})
	}
	return out
}

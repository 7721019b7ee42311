package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
)

// health examines the store once for the checks that need it.
func (h *Host) health(ctx context.Context) (consul.Health, error) {
	if h.Store == nil {
		return consul.Health{}, NotMade("this host has a store of its own, a file")
	}
	h.storeOnce.Do(func() { h.storeHealth, h.storeErr = h.Store(ctx) })
	return h.storeHealth, h.storeErr
}

// answering is health, and an error if no server of the store answers.
func (h *Host) answering(ctx context.Context) (consul.Health, error) {
	s, err := h.health(ctx)
	if err == nil && !s.Answers() {
		err = NotMade("no server of the store answers")
	}
	return s, err
}

var storeCheck = Check{
	Name: "store", Code: 20, About: "each server of the store answers and knows a leader",
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		s, err := h.health(ctx)
		if err != nil {
			return nil, err
		}
		return serverFindings(h.self(), s), nil
	},
}

func serverFindings(host string, s consul.Health) []Finding {
	severity, follows := control.Risk, "the others answer; with them gone too, changes would travel only directly from host to host, and no network could be created"
	if !s.Answers() {
		severity, follows = control.Broken, "no server does, so what runs goes on, but changes travel only directly from host to host, and no network can be created"
	}
	var out []Finding
	for _, server := range s.Servers {
		f := Finding{Object: "Consul server " + server.Address, Severity: severity}
		switch {
		case errors.Is(server.Err, kvstore.ErrDenied):
			continue // it answers; another check tells what it denies
		case server.Err != nil:
			f.Problem = fmt.Sprintf("the Consul server %s does not answer %s: %s; %s", server.Address, host, why(server.Err), follows)
			f.Cure = "start it (systemctl start consul), let its TCP port pass, or correct --store"
		case server.Leader == "":
			f.Problem = fmt.Sprintf("the Consul server %s knows no leader: too few servers run or reach each other; %s", server.Address, follows)
			f.Cure = "start the other servers and see `consul operator raft list-peers`"
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

var storeACLCheck = Check{
	Name: "store-acl", Code: 22, About: "the store's ACLs hide no record from this host",
	After: []string{"store"},
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		s, err := h.answering(ctx)
		if err != nil {
			return nil, err
		}
		return readFindings(h.self(), h.Config.Store, s), nil
	},
}

func readFindings(host, store string, s consul.Health) []Finding {
	f := Finding{
		Object: store, Severity: control.Broken,
		Cure: `give the token in CONSUL_HTTP_TOKEN the policy key_prefix "PREFIX/" { policy = "write" }, and see that it has not run out`,
	}
	switch {
	case errors.Is(s.ReadErr, kvstore.ErrDenied):
		f.Problem = fmt.Sprintf("the store %s does not let %s read its records: %s", store, host, why(s.ReadErr))
	case s.ReadErr != nil:
		f.Problem = fmt.Sprintf("the records in the store %s cannot be read by %s: %s", store, host, why(s.ReadErr))
		f.Cure = "see Consul's log"
	case s.Filtered:
		f.Problem = fmt.Sprintf("the store %s leaves out records that %s asks for, because its token may not read them: networks or hosts seem not to exist", store, host)
	default:
		return nil
	}
	return []Finding{f}
}

var storeWriteCheck = Check{
	Name: "store-write", Code: 21, About: "the store takes what this host writes",
	After: []string{"store", "store-acl"},
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		s, err := h.answering(ctx)
		if err != nil {
			return nil, err
		}
		return writeFindings(h.self(), h.Config.Store, s), nil
	},
}

func writeFindings(host, store string, s consul.Health) []Finding {
	if s.WriteErr == nil {
		return nil
	}
	f := Finding{
		Object: store, Severity: control.Broken,
		Problem: fmt.Sprintf("the store %s takes nothing that %s writes: %s; what changes here stays unknown to other hosts", store, host, why(s.WriteErr)),
		Cure:    "see Consul's log for why, and whether its limits (request_limits) are too low",
	}
	if errors.Is(s.WriteErr, kvstore.ErrDenied) {
		f.Cure = `give the token in CONSUL_HTTP_TOKEN the policy key_prefix "PREFIX/", session_prefix "weft-" and node_prefix "weft-" { policy = "write" }`
	}
	return []Finding{f}
}

// mostSkew is how far clocks may be apart. weft measures how long something takes by
// each host's own clock. It compares times of two hosts in one case only: when a host
// has lost its records, whether its Docker's network is younger than the tombstone of
// one like it. And people compare logs.
const mostSkew = 5 * time.Second

var clockCheck = Check{
	Name: "clock", Code: 23, About: "this host's clock and those of the store's servers agree",
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		s, err := h.answering(ctx)
		if err != nil {
			return nil, err
		}
		return clockFindings(h.self(), s), nil
	},
}

func clockFindings(host string, s consul.Health) []Finding {
	var out []Finding
	for _, server := range s.Servers {
		if server.Err != nil || server.Within == 0 || server.Ahead.Abs() <= mostSkew+server.Within {
			continue
		}
		way := "ahead of"
		if server.Ahead < 0 {
			way = "behind"
		}
		out = append(out, Finding{
			Object:   "Consul server " + server.Address,
			Problem:  fmt.Sprintf("the clock of the Consul server %s is %s %s that of %s, so logs do not fit together, and a host that loses its records may take a new network for one that was removed before", server.Address, server.Ahead.Abs().Round(time.Second), way, host),
			Cure:     "let NTP set the clocks of both, and of all other hosts (timedatectl, chronyc tracking)",
			Severity: control.Risk,
		})
	}
	return out
}

// why is the text of a store's error without its kind.
func why(err error) string {
	text := err.Error()
	for _, kind := range []error{kvstore.ErrUnavailable, kvstore.ErrDenied} {
		if _, rest, ok := strings.Cut(text, kind.Error()+": "); ok && errors.Is(err, kind) {
			return rest
		}
	}
	return text
}

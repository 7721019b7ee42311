package whole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/lab"
)

// root is where weft's keys are in Consul.
const root = "weft/"

// Records are the store's, by key without root, as the first Consul server that
// answers has them.
func (c Cluster) Records(ctx context.Context) (map[string][]byte, error) {
	var errs []error
	for _, server := range c.Lab.Consuls() {
		if !server.Running() {
			continue
		}
		out, err := recordsOf(ctx, server)
		if err == nil {
			return out, nil
		}
		errs = append(errs, fmt.Errorf("ask %s for its records: %w", server.Name(), err))
	}
	if len(errs) == 0 {
		return nil, errors.New("no Consul server runs")
	}
	return nil, errors.Join(errs...)
}

func recordsOf(ctx context.Context, server *lab.Consul) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := server.Request(ctx, http.MethodGet, "/v1/kv/"+root+"?recurse&consistent", nil)
	if err != nil {
		return nil, err
	}
	var pairs []struct {
		Key   string
		Value []byte
	}
	if err := json.Unmarshal(text, &pairs); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, p := range pairs {
		out[strings.TrimPrefix(p.Key, root)] = p.Value
	}
	return out, nil
}

// Claims counts the addresses that each host has claimed in the store.
func (c Cluster) Claims(ctx context.Context) (map[string]int, error) {
	records, err := c.Records(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for key, text := range records {
		if !strings.HasPrefix(key, "addr/") {
			continue
		}
		var claim struct {
			Host string `json:"h"`
		}
		if err := json.Unmarshal(text, &claim); err != nil {
			return nil, fmt.Errorf("the store's %s: %w", key, err)
		}
		out[claim.Host]++
	}
	return out, nil
}

// Late says that the reason is a pool, an address or an endpoint that Docker has
// asked for and made nothing of, since one of them died in between. Weft waits
// for a minute or two before it believes that.
func Late(reason string) bool {
	return slices.ContainsFunc([]string{"pool/", "addr/", "endpoint "}, func(what string) bool {
		return strings.HasPrefix(reason, tooMuch+" "+what)
	})
}

// Stranded says that the reason is an address that a host had in stock before it
// lost its state. Weft keeps it from others for ten minutes, in case a container
// that it has not found has it.
func Stranded(reason string) bool { return strings.HasSuffix(reason, stranded) }

const stranded = "which its host claimed before it lost its state"

// attachment is what the store has at at/<host>/<network>.
type attachment struct {
	Endpoints []struct {
		ID    string       `json:"id"`
		Addrs []netip.Addr `json:"addrs"`
	} `json:"endpoints"`
	Stock []netip.Addr `json:"stock"`
}

// tooMuch begins the reasons that are about what is not there any more.
const tooMuch = "the store has"

// missing are those of the first list that the second lacks.
func missing(list, from []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(from, s) })
}

// StoreDiffers says where the store is not what the networks and Docker are. What
// may be so for a while is Late.
func StoreDiffers(records map[string][]byte, networks []control.Network, docker map[string]map[string]DockerNetwork) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }

	want := map[string]bool{}
	for _, n := range networks {
		want["net/"+n.ID], want["name/"+n.Name], want[fmt.Sprintf("vni/%d", n.VNI)] = true, true, true
		for _, s := range n.Subnets {
			want["pool/"+slot(s)] = true
		}
		for host := range docker {
			want["at/"+host+"/"+n.ID] = true
		}
	}
	for key := range want {
		if _, ok := records[key]; !ok {
			say("the store lacks %s", key)
		}
	}
	for key, text := range records {
		first, rest, _ := strings.Cut(key, "/")
		switch {
		case want[key] || strings.HasPrefix(rest, "."): // what there is once
		case first == "net":
			var n overlay.Network
			if err := json.Unmarshal(text, &n); err != nil || n.Deleted.IsZero() {
				say("%s %s %s, which no host knows", tooMuch, key, text)
			}
		case slices.Contains([]string{"name", "vni", "pool", "at"}, first):
			say("%s %s, which is nobody's", tooMuch, key)
		}
	}

	claims := map[string][]string{} // by address's key: who may have it
	for host, nets := range docker {
		for _, n := range networks {
			var at attachment
			text := records["at/"+host+"/"+n.ID]
			if text == nil {
				continue
			}
			if err := json.Unmarshal(text, &at); err != nil {
				say("at/%s/%s: %v", host, n.ID, err)
				continue
			}
			var stored []string
			for _, e := range at.Endpoints {
				stored = append(stored, e.ID)
				for _, a := range e.Addrs {
					claims[addrKey(n, a)] = append(claims[addrKey(n, a)], host)
				}
			}
			for _, a := range at.Stock {
				claims[addrKey(n, a)] = append(claims[addrKey(n, a)], host)
			}
			var has []string
			for _, e := range nets[n.Name].Containers {
				has = append(has, e.EndpointID)
			}
			for _, id := range missing(has, stored) {
				say("the store lacks endpoint %.12s of %s on %s", id, n.Name, host)
			}
			for _, id := range missing(stored, has) {
				say("%s endpoint %.12s of %s on %s, which Docker does not have", tooMuch, id, n.Name, host)
			}
		}
	}
	for key, hosts := range claims {
		var h struct {
			Host string `json:"h"`
		}
		text, ok := records[key]
		switch err := json.Unmarshal(text, &h); {
		case !ok:
			say("nobody has claimed %s, which %s uses or keeps", key, hosts)
		case err != nil:
			say("%s: %v", key, err)
		case len(hosts) > 1 || hosts[0] != h.Host:
			say("%s is claimed by %s, and used or kept by %s", key, h.Host, hosts)
		}
	}
	for key, text := range records {
		if !strings.HasPrefix(key, "addr/") || claims[key] != nil {
			continue
		}
		why := "which nobody uses or keeps"
		if _, lost := claimant(text, records); lost {
			why = stranded
		}
		say("%s %s %s, %s", tooMuch, key, text, why)
	}
	slices.Sort(out)
	return out
}

// claimant is the host that has made a claim, empty if that cannot be told, and
// whether the host has lost its state since.
func claimant(text []byte, records map[string][]byte) (host string, lost bool) {
	var by struct {
		Host        string `json:"h"`
		Incarnation string `json:"i"`
	}
	var now overlay.Host
	if json.Unmarshal(text, &by) != nil || json.Unmarshal(records["host/"+by.Host+"/doc"], &now) != nil {
		return "", false
	}
	return by.Host, by.Incarnation != now.Incarnation
}

func slot(p netip.Prefix) string { return strings.Replace(p.String(), "/", "_", 1) }

// addrKey is the key of an address of the network.
func addrKey(n control.Network, a netip.Addr) string {
	for _, s := range n.Subnets {
		if s.Contains(a) {
			return "addr/" + slot(s) + "/" + a.String()
		}
	}
	return "addr/nowhere/" + a.String()
}

// Stored gives the host of every address that is a container's for the store.
func (c Cluster) Stored(ctx context.Context) (map[netip.Addr]string, error) {
	records, err := c.Records(ctx)
	if err != nil {
		return nil, err
	}
	out := map[netip.Addr]string{}
	for key, text := range records {
		rest, ok := strings.CutPrefix(key, "at/")
		if !ok {
			continue
		}
		host, _, _ := strings.Cut(rest, "/")
		var at attachment
		if err := json.Unmarshal(text, &at); err != nil {
			return nil, fmt.Errorf("the store's %s: %w", key, err)
		}
		for _, e := range at.Endpoints {
			for _, a := range e.Addrs {
				out[a] = host
			}
		}
	}
	return out, nil
}

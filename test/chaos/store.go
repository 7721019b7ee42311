package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// root is where weft's keys are in Consul.
const root = "weft/"

// records are the store's, by key without root.
func (r *runner) records(ctx context.Context) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := r.Lab.Consul(1)
	client := c.HTTPClient()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL()+"/v1/kv/"+root+"?recurse&consistent", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("Consul answers %s", resp.Status)
	}
	var pairs []struct {
		Key   string
		Value []byte
	}
	if err := json.NewDecoder(resp.Body).Decode(&pairs); err != nil {
		return nil, fmt.Errorf("decode Consul's answer: %w", err)
	}
	out := map[string][]byte{}
	for _, p := range pairs {
		out[strings.TrimPrefix(p.Key, root)] = p.Value
	}
	return out, nil
}

// attachment is what the store has at at/<host>/<network>.
type attachment struct {
	Endpoints []struct {
		ID    string       `json:"id"`
		Addrs []netip.Addr `json:"addrs"`
	} `json:"endpoints"`
	Stock []netip.Addr `json:"stock"`
}

// network is one element of `weft network ls --json`.
type network struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	VNI     uint32         `json:"vni"`
	Subnets []netip.Prefix `json:"subnets"`
	State   string         `json:"state"`
	Why     string         `json:"why"`
}

// tooMuch begins the reasons that are about what is not there any more.
const tooMuch = "the store has"

// missing are those of the first list that the second lacks.
func missing(list, from []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(from, s) })
}

// storeDiffers says where the store is not what the networks and Docker are.
// Strays are claims for a container that never came to be, or has gone without
// a word, since a process died in between: weft waits before it believes that.
func storeDiffers(records map[string][]byte, networks []network, docker map[string]map[string]dockerNetwork) (out, strays []string) {
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
	for key := range records {
		switch first, _, _ := strings.Cut(key, "/"); first {
		case "name", "vni", "pool", "at":
			if want[key] || key == "pool/.seq" {
				continue
			}
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
		if strings.HasPrefix(key, "addr/") && claims[key] == nil {
			strays = append(strays, key+" "+string(text))
		}
	}
	slices.Sort(out)
	slices.Sort(strays)
	return out, strays
}

func slot(p netip.Prefix) string { return strings.Replace(p.String(), "/", "_", 1) }

// addrKey is the key of an address of the network.
func addrKey(n network, a netip.Addr) string {
	for _, s := range n.Subnets {
		if s.Contains(a) {
			return "addr/" + slot(s) + "/" + a.String()
		}
	}
	return "addr/nowhere/" + a.String()
}

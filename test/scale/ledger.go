package main

import (
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"github.com/weft-net/weft/driver/overlay"
)

// ledger is what is true of the cluster, whatever its hosts know.
type ledger struct {
	mu      sync.Mutex // guards all following fields
	alive   map[string]bool
	users   map[netip.Addr]string           // endpoints by address; subnets do not overlap
	running map[string]map[string]endpoints // by network id and host
	doubles []string
}

// endpoints are names of containers by the ids of their endpoints.
type endpoints map[string]string

func newLedger() *ledger {
	return &ledger{alive: map[string]bool{}, users: map[netip.Addr]string{}, running: map[string]map[string]endpoints{}}
}

// lives says that the host lives, or does not any more. What a dead one had stays its own:
// hosts die for a shorter time than until others may have its addresses.
func (l *ledger) lives(host string, lives bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive[host] = lives
}

func (l *ledger) isAlive(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alive[host]
}

// given notes that the endpoint was given the address.
func (l *ledger) given(addr netip.Addr, endpoint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, used := l.users[addr]; used {
		l.doubles = append(l.doubles, fmt.Sprintf("%v was given to %s and is in use by %s", addr, endpoint, other))
	}
	l.users[addr] = endpoint
}

// returns notes that the address is about to be given back.
func (l *ledger) returns(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.users, addr)
}

// runs notes that the endpoint runs, or that it does not any more.
func (l *ledger) runs(e endpoint, runs bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.running[e.network]
	if of == nil {
		of = map[string]endpoints{}
		l.running[e.network] = of
	}
	if of[e.host] == nil {
		of[e.host] = endpoints{}
	}
	if runs {
		of[e.host][e.id] = e.name
	} else {
		delete(of[e.host], e.id)
	}
}

// duplicates are the cases in which two endpoints had one address.
func (l *ledger) duplicates() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.doubles...)
}

// missing says what the host whose snapshot this is does not know of what is true, or
// knows wrong; "" if it knows everything. What dead hosts had is not asked.
func (l *ledger) missing(s overlay.Snapshot) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for host, alive := range l.alive {
		if _, there := s.Hosts[host]; alive && !there && host != s.Self.Name {
			return fmt.Sprintf("%s does not know host %s", s.Self.Name, host)
		}
	}
	for network, hosts := range l.running {
		if _, there := s.Networks[network]; !there {
			return fmt.Sprintf("%s does not know network %s", s.Self.Name, network)
		}
		known := map[string]endpoints{}
		for _, at := range s.Peers[network] {
			known[at.Host] = named(at.Endpoints)
		}
		for host, has := range hosts {
			if host == s.Self.Name || !l.alive[host] {
				continue
			}
			if !maps.Equal(known[host], has) && len(known[host])+len(has) > 0 {
				return fmt.Sprintf("%s knows of %d endpoints of %s in network %s, which has %d", s.Self.Name, len(known[host]), host, network, len(has))
			}
		}
	}
	return ""
}

func named(list []overlay.PeerEndpoint) endpoints {
	out := make(endpoints, len(list))
	for _, e := range list {
		out[e.ID] = e.Name
	}
	return out
}

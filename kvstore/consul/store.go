package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/kvstore"
)

// Config says which Consul a Store uses, and what for.
type Config struct {
	// Addresses are those of servers or agents of one datacenter, host:port.
	// The one that works is kept.
	Addresses []string
	// Host is the name of the host that tries them in an order of its own, see
	// order. Without one they are tried in the order in which they stand.
	Host string
	// Prefix is where the keys lie, without slashes at its ends.
	Prefix string
	// NodeAddress is the address of the catalog nodes that Hold makes: this
	// host's, as others reach it. Only Hold needs it.
	NodeAddress string
	// Log gets what happens while a call goes on.
	Log logrus.FieldLogger
	// OnRequest, if not nil, is called after each request with what it was for
	// ("get", "list", "wait", "txn", "register", "lease", "renew", "destroy")
	// and how long it took. It must be quick and safe for concurrent use.
	OnRequest func(request string, took time.Duration, err error)
	// Dial makes the connections to the servers. nil: from whatever address of this host
	// the way to the server has, and kept alive so that a server that is gone is noticed.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Store implements kvstore.Store. Make one with Open.
type Store struct {
	cfg     Config
	servers []server     // in the order in which they are tried
	current atomic.Int64 // index into servers of the one in use
	calls   calls

	mu   sync.Mutex // guards all following fields
	seen map[string]seen
	held map[string]bool // the keys that Hold has held
}

type server struct {
	address string
	client  *api.Client
	http    *http.Transport
}

var _ kvstore.Store = (*Store)(nil)

// Open makes a Store. It connects to nothing; the error is about cfg or the
// CONSUL_* variables.
func Open(cfg Config) (*Store, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("open Consul: no address of a server")
	}
	if err := kvstore.CheckKey(cfg.Prefix); err != nil {
		return nil, fmt.Errorf("open Consul: prefix: %w", err)
	}
	s := &Store{cfg: cfg, seen: map[string]seen{}, held: map[string]bool{}, calls: calls{cancels: map[*call]struct{}{}}}
	for _, address := range order(cfg.Addresses, cfg.Host) {
		srv, err := connect(address, cfg.Dial)
		if err != nil {
			return nil, fmt.Errorf("open Consul at %s: %w", address, err)
		}
		s.servers = append(s.servers, srv)
	}
	return s, nil
}

// dial is Config.Dial.
type dial = func(ctx context.Context, network, address string) (net.Conn, error)

// connect makes the client of one server.
func connect(address string, by dial) (server, error) {
	cfg := api.DefaultConfig()
	cfg.Address = address
	if by == nil {
		// A server that is gone without a word, in the middle of a Wait, shows
		// after 5 s + 3 x 5 s.
		by = (&net.Dialer{
			Timeout:         callTime,
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
		}).DialContext
	}
	transport := cfg.Transport
	transport.DialContext = by
	// Each Wait has a connection of its own, which the next one takes over.
	transport.MaxIdleConnsPerHost = 64
	client, err := api.NewHttpClient(transport, cfg.TLSConfig)
	if err != nil {
		return server{}, err
	}
	client.Transport = statusErrors{transport}
	cfg.HttpClient = client
	c, err := api.NewClient(cfg)
	if err != nil {
		return server{}, err
	}
	return server{address, c, transport}, nil
}

// Close implements kvstore.Store. It ends all calls and waits for them; a Hold
// among them lets go first, which takes 3 s at most.
func (s *Store) Close() error {
	s.calls.close()
	for _, srv := range s.servers {
		srv.http.CloseIdleConnections()
	}
	return nil
}

// key gives Consul's name of a key or prefix.
func (s *Store) key(key string) string { return s.cfg.Prefix + "/" + key }

// pair makes a pair of Consul's.
func (s *Store) pair(p *api.KVPair) kvstore.Pair {
	return kvstore.Pair{
		Key:      strings.TrimPrefix(p.Key, s.cfg.Prefix+"/"),
		Value:    p.Value,
		Revision: p.ModifyIndex,
		Held:     p.Session != "",
	}
}

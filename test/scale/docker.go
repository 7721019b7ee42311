package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	dockeripam "github.com/docker/go-plugins-helpers/ipam"
	dockernet "github.com/docker/go-plugins-helpers/network"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/ipam"
)

// docker calls a host's plugin as its Docker would, and has no containers. It is the
// mirror too: the cluster's networks are made here, and endpoints get their names.
type docker struct {
	host   *host
	ledger *ledger
	plugin http.Handler

	mu       sync.Mutex               // guards what follows
	networks map[string]dockerNetwork // by weft's id
	news     chan struct{}            // closed and replaced when there is another network
}

// dockerNetwork is a network as Docker has it.
type dockerNetwork struct{ id, pool string }

// endpoint is a container's interface.
type endpoint struct {
	id, name, host string
	network        string // weft's id
	pool           string
	addr           netip.Addr
}

func newDocker(h *host, l *ledger) *docker {
	return &docker{host: h, ledger: l, plugin: h.plugin(), networks: map[string]dockerNetwork{}, news: make(chan struct{})}
}

// call makes one call of the plugin protocol.
func (d *docker) call(ctx context.Context, method string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	d.plugin.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return fmt.Errorf("%s on %s: %s", method, d.host.name, bytes.TrimSpace(w.Body.Bytes()))
	}
	if resp == nil {
		return nil
	}
	return json.Unmarshal(w.Body.Bytes(), resp)
}

// newID is an id as Docker draws them.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return hex.EncodeToString(b[:])
}

// name tells the cluster the name of a network that a person has made here; from then on
// the network is on all hosts.
func (d *docker) name(ctx context.Context, network, name string) error {
	return d.host.registry.Name(ctx, network, registry.Naming{Name: name})
}

// make makes a network in this Docker: the cluster's, or a new one if it has no id.
func (d *docker) make(ctx context.Context, n overlay.Network) (overlay.Network, error) {
	var subnet, gateway string
	options := map[string]string{}
	if n.ID != "" {
		defer d.host.registry.Mirroring(n.ID)()
		subnet, gateway = n.Subnets[0].Prefix.String(), n.Subnets[0].Gateway.String()
		options[option.VNIList] = strconv.FormatUint(uint64(n.VNI), 10)
	}
	var pool dockeripam.RequestPoolResponse
	if err := d.call(ctx, "IpamDriver.RequestPool", dockeripam.RequestPoolRequest{AddressSpace: ipam.LocalSpace, Pool: subnet}, &pool); err != nil {
		return n, err
	}
	var at dockeripam.RequestAddressResponse
	err := d.call(ctx, "IpamDriver.RequestAddress", dockeripam.RequestAddressRequest{
		PoolID: pool.PoolID, Address: gateway, Options: map[string]string{"RequestAddressType": "com.docker.network.gateway"},
	}, &at)
	if err != nil {
		d.giveBack(ctx, pool.PoolID)
		return n, err
	}
	made := dockerNetwork{id: newID(), pool: pool.PoolID}
	err = d.call(ctx, "NetworkDriver.CreateNetwork", dockernet.CreateNetworkRequest{
		NetworkID: made.id, Options: map[string]any{"com.docker.network.generic": options},
		IPv4Data: []*dockernet.IPAMData{{AddressSpace: ipam.LocalSpace, Pool: pool.Pool, Gateway: at.Address}},
	}, nil)
	if err != nil {
		d.giveBack(ctx, pool.PoolID)
		return n, err
	}
	n, _ = d.host.registry.OfDocker(made.id)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.networks[n.ID] = made
	close(d.news)
	d.news = make(chan struct{})
	return n, nil
}

// giveBack gives a pool back of which no network came.
func (d *docker) giveBack(ctx context.Context, pool string) {
	if err := d.call(ctx, "IpamDriver.ReleasePool", dockeripam.ReleasePoolRequest{PoolID: pool}, nil); err != nil {
		d.host.log.WithError(err).Debug("A pool could not be given back.")
	}
}

// mirrorAgain is when a network is tried again that could not be made.
const mirrorAgain = 200 * time.Millisecond

// run makes the cluster's networks in this Docker until ctx ends.
func (d *docker) run(ctx context.Context) error {
	changes, stop := d.host.registry.Changes()
	defer stop()
	for {
		var again <-chan time.Time
		for _, n := range d.host.registry.Inventory().Live {
			if n.Name == "" || d.has(n.ID) || ctx.Err() != nil {
				continue
			}
			if _, err := d.make(ctx, n); err != nil {
				d.host.log.WithError(err).Debug("A network of the cluster could not be made in Docker; it is tried again.")
				again = time.After(mirrorAgain)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		case <-again:
		}
	}
}

func (d *docker) has(network string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, has := d.networks[network]
	return has
}

// await waits until Docker has the network.
func (d *docker) await(ctx context.Context, network string) (dockerNetwork, error) {
	for {
		d.mu.Lock()
		n, has := d.networks[network]
		news := d.news
		d.mu.Unlock()
		if has {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return n, fmt.Errorf("network %s has not come to %s: %w", network, d.host.name, ctx.Err())
		case <-news:
		}
	}
}

// start starts a container with one endpoint. telling is called once it has an address,
// before anybody can know of it. If it cannot be started, nothing is left of it.
func (d *docker) start(ctx context.Context, network, name string, telling func(endpoint)) (endpoint, error) {
	e := endpoint{id: newID(), name: name, host: d.host.name, network: network}
	n, err := d.await(ctx, network)
	if err != nil {
		return e, err
	}
	e.pool = n.pool
	var got dockeripam.RequestAddressResponse
	if err := d.call(ctx, "IpamDriver.RequestAddress", dockeripam.RequestAddressRequest{PoolID: n.pool}, &got); err != nil {
		return e, err
	}
	prefix, err := netip.ParsePrefix(got.Address)
	if err != nil {
		return e, err
	}
	e.addr = prefix.Addr()
	d.ledger.given(e.addr, e.id)
	telling(e)
	err = d.call(ctx, "NetworkDriver.CreateEndpoint", dockernet.CreateEndpointRequest{
		NetworkID: n.id, EndpointID: e.id, Interface: &dockernet.EndpointInterface{Address: got.Address},
	}, nil)
	if err == nil {
		err = d.call(ctx, "NetworkDriver.Join", dockernet.JoinRequest{NetworkID: n.id, EndpointID: e.id, SandboxKey: "/var/run/docker/netns/" + e.id[:12]}, nil)
	}
	if err == nil {
		err = d.host.registry.NameEndpoint(ctx, e.id, []string{name})
	}
	return e, err
}

// stop stops a container.
func (d *docker) stop(ctx context.Context, e endpoint) error {
	n, err := d.await(ctx, e.network)
	if err != nil {
		return err
	}
	if err := d.call(ctx, "NetworkDriver.Leave", dockernet.LeaveRequest{NetworkID: n.id, EndpointID: e.id}, nil); err != nil {
		return err
	}
	if err := d.call(ctx, "NetworkDriver.DeleteEndpoint", dockernet.DeleteEndpointRequest{NetworkID: n.id, EndpointID: e.id}, nil); err != nil {
		return err
	}
	d.ledger.returns(e.addr)
	return d.call(ctx, "IpamDriver.ReleaseAddress", dockeripam.ReleaseAddressRequest{PoolID: e.pool, Address: e.addr.String()}, nil)
}

// pools are the ids of the pools of this Docker's networks, sorted.
func (d *docker) pools() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, n := range d.networks {
		out = append(out, n.pool)
	}
	slices.Sort(out)
	return out
}

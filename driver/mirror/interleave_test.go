package mirror

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// turns lets one caller go at a time, in an order that a seed draws. A caller waits
// for its turn before it reads or changes what others see: the store, a host's
// records, its Docker.
type turns struct {
	mu      sync.Mutex
	waiting []turn
	rank    map[string]uint64 // by who: the highest of those that wait goes
	free    bool              // all go at once
}

type turn struct {
	who string
	run chan struct{}
}

func (s *turns) wait(who string) {
	s.mu.Lock()
	if s.free {
		s.mu.Unlock()
		return
	}
	t := turn{who, make(chan struct{})}
	s.waiting = append(s.waiting, t)
	s.mu.Unlock()
	<-t.run
}

// next lets one go, or time pass if nobody waits. Some are preferred for a while and
// others kept waiting: that finds more than to draw each turn anew.
func (s *turns) next(draw *rand.Rand) {
	synctest.Wait()
	s.mu.Lock()
	if len(s.waiting) == 0 {
		s.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		return
	}
	if s.rank == nil || draw.IntN(rankFor) == 0 {
		s.rank = map[string]uint64{}
	}
	slices.SortStableFunc(s.waiting, func(a, b turn) int { return cmp.Compare(a.who, b.who) })
	for _, t := range s.waiting {
		if s.rank[t.who] == 0 {
			s.rank[t.who] = draw.Uint64()
		}
	}
	i, best := 0, uint64(0)
	for j, t := range s.waiting {
		if s.rank[t.who] > best {
			i, best = j, s.rank[t.who]
		}
	}
	t := s.waiting[i]
	s.waiting = slices.Delete(s.waiting, i, i+1)
	s.mu.Unlock()
	close(t.run)
}

// rankFor is for how many turns an order of preference lasts, on average.
const rankFor = 8

func (s *turns) freeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = true
	for _, t := range s.waiting {
		close(t.run)
	}
	s.waiting = nil
}

// way is the host's way to the cluster's store.
func (s *turns) way(host string, store kvstore.Store) kvstore.Store {
	return kvtest.Around(store, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		switch r.Method {
		case kvtest.Get, kvtest.List:
			s.wait(host + " store")
		case kvtest.Txn:
			s.wait(host + " store")
			defer s.wait(host + " store's answer")
		case kvtest.Wait:
			defer s.wait(host + " hears")
		case kvtest.Hold:
		}
		return do(ctx)
	})
}

// turnRecords are a host's records as its mirror uses them.
type turnRecords struct {
	*registry.Registry
	turns *turns
	host  string
}

func (r turnRecords) Inventory() registry.Inventory {
	r.turns.wait(r.host + " mirror")
	return r.Registry.Inventory()
}

func (r turnRecords) Name(ctx context.Context, id string, n registry.Naming) error {
	r.turns.wait(r.host + " mirror")
	return r.Registry.Name(ctx, id, n)
}

func (r turnRecords) Attach(ctx context.Context, dockerID, id string) error {
	r.turns.wait(r.host + " mirror")
	return r.Registry.Attach(ctx, dockerID, id)
}

func (r turnRecords) Detach(ctx context.Context, dockerID string) error {
	r.turns.wait(r.host + " mirror")
	return r.Registry.Detach(ctx, dockerID)
}

// turnHost is a host: its records, its mirror and a model of its Docker, which works
// at one network of a name at a time and lists a network from after the driver's
// call that creates it until after the one that removes it.
type turnHost struct {
	*turns
	records turnRecords
	session *session
	state   kvstore.Store
	log     *test.Hook
	name    string
	stop    func()

	mu      sync.Mutex
	next    int
	all     map[string]engine.Network // by Docker's id
	names   map[string]chan struct{}  // names that Docker is at
	removed map[string]bool           // weft's ids of what users have removed here
	made    map[string]userMade       // by Docker's id: what users have made here
}

// userMade is a network whose user was told that it is made.
type userMade struct {
	id     string // weft's
	chosen bool   // its subnet
}

// turnCluster is a few hosts with one store.
type turnCluster struct {
	turns
	t     *testing.T
	store kvstore.Store
	hosts []*turnHost
	nets  int // subnets given
}

func newTurnCluster(t *testing.T, hosts int) *turnCluster {
	c := &turnCluster{t: t, store: registrytest.OpenStore(t, "cluster.db")}
	c.free = true
	for i := range hosts {
		h := &turnHost{
			turns: &c.turns, name: fmt.Sprintf("h%d", i+1),
			all: map[string]engine.Network{}, names: map[string]chan struct{}{}, removed: map[string]bool{}, made: map[string]userMade{},
		}
		h.state = registrytest.OpenStore(t, h.name+".db")
		c.start(h)
		c.hosts = append(c.hosts, h)
	}
	for _, h := range c.hosts {
		for end := time.Now().Add(time.Minute); h.records.Registry.Inventory().Frozen; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(h.name + " may not claim anything")
			}
		}
	}
	return c
}

// start starts the host's weft.
func (c *turnCluster) start(h *turnHost) {
	c.t.Helper()
	log, hook := test.NewNullLogger()
	r, err := registry.Open(c.t.Context(), registry.Config{
		Self:    overlay.Host{Name: h.name, VTEP: netip.MustParseAddr("192.0.2.1"), Port: 4789, MTU: 1500},
		Cluster: c.way(h.name, c.store), State: h.state, Log: log,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetAddresses(registrytest.NoAddresses{})
	if err := r.Rebuilt(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	h.log, h.records = hook, turnRecords{r, &c.turns, h.name}
	h.session = &session{
		Mirror: New(Config{Registry: h.records, Driver: "weft", IPAM: "weft", Log: log}),
		maker:  h, up: func() {}, ledger: newLedger(), asked: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{r.Run, h.session.networks} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				c.t.Errorf("%s: %v", h.name, err)
			}
		})
	}
	h.stop = func() {
		cancel()
		running.Wait()
	}
}

func (c *turnCluster) end() {
	c.freeAll()
	for _, h := range c.hosts {
		h.stop()
	}
}

// changed is an event of Docker's.
func (h *turnHost) changed() {
	h.session.news.Store(true)
	h.session.ask()
}

func (h *turnHost) listed() map[string]engine.Network {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.all)
}

// at waits until Docker is at no network of the name, and has it be until done.
func (h *turnHost) at(name string) (done func()) {
	for {
		h.mu.Lock()
		busy := h.names[name]
		if busy == nil {
			mine := make(chan struct{})
			h.names[name] = mine
			h.mu.Unlock()
			return func() {
				h.mu.Lock()
				delete(h.names, name)
				h.mu.Unlock()
				close(mine)
			}
		}
		h.mu.Unlock()
		<-busy
	}
}

// post is a request for a network, by whomever.
func (h *turnHost) post(ctx context.Context, who, name string, want overlay.Network) (docker, weft string, err error) {
	defer h.at(name)()
	h.mu.Lock()
	for _, n := range h.all {
		if n.Name == name {
			h.mu.Unlock()
			return "", "", errdefs.Conflict(fmt.Errorf("network with name %s already exists", name))
		}
	}
	h.next++
	docker = fmt.Sprintf("%s-d%d", h.name, h.next)
	h.mu.Unlock()
	made := time.Now()
	h.wait(who)
	n, err := h.records.Create(ctx, docker, want)
	if err != nil {
		return "", "", err
	}
	h.wait(who)
	h.mu.Lock()
	h.all[docker] = engine.Network{ID: docker, Name: name, Driver: "weft", IPAM: "weft", Created: made, Subnets: want.Subnets}
	h.mu.Unlock()
	h.changed()
	return docker, n.ID, nil
}

// del is a request to remove a network, by whomever. gone is weft's id.
func (h *turnHost) del(ctx context.Context, who, docker string) (gone string, err error) {
	n, ok := h.listed()[docker]
	if !ok {
		return "", errdefs.NotFound(fmt.Errorf("no network %s", docker))
	}
	defer h.at(n.Name)()
	if _, ok := h.listed()[docker]; !ok {
		return "", errdefs.NotFound(fmt.Errorf("no network %s", docker))
	}
	h.wait(who)
	record, _ := h.records.OfDocker(docker)
	if err := h.records.Delete(ctx, docker); err != nil {
		return "", err
	}
	h.wait(who)
	h.mu.Lock()
	delete(h.all, docker)
	h.mu.Unlock()
	h.changed()
	return record.ID, nil
}

func (h *turnHost) Create(ctx context.Context, _, _ string, n overlay.Network) (string, error) {
	id, _, err := h.post(ctx, h.name+" mirror", n.Name, overlay.Network{VNI: n.VNI, Subnets: n.Subnets})
	return id, err
}

func (h *turnHost) Endpoints(context.Context, string) (map[string]engine.Shown, bool, error) {
	return nil, false, nil
}

func (h *turnHost) Remove(ctx context.Context, docker string) error {
	_, err := h.del(ctx, h.name+" mirror", docker)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (h *turnHost) Running(context.Context) ([]engine.Endpoint, error) { return nil, nil }

func (h *turnHost) Networks(context.Context) ([]engine.Network, error) {
	h.wait(h.name + " mirror")
	return slices.Collect(maps.Values(h.listed())), nil
}

// subnet gives a new network.
func (c *turnCluster) subnet() overlay.Network {
	c.nets++
	return overlay.Network{Subnets: []overlay.Subnet{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(c.nets >> 8), byte(c.nets), 0}), 24)}}}
}

// user has a person on the host make or remove a network, of a few names.
func (c *turnCluster) user(h *turnHost, draw *rand.Rand, done func()) {
	name := string(rune('a' + draw.IntN(4)))
	who := fmt.Sprintf("%s user of %s", h.name, name)
	var mine []string
	for id, n := range h.listed() {
		if n.Name == name {
			mine = append(mine, id)
		}
	}
	want := c.subnet()
	want.Subnets[0].Chosen = draw.IntN(2) == 0
	go func() {
		defer done()
		if len(mine) == 0 {
			if docker, id, err := h.post(c.t.Context(), who, name, want); err == nil {
				h.mu.Lock()
				h.made[docker] = userMade{id, want.Subnets[0].Chosen}
				h.mu.Unlock()
			}
			return
		}
		if id, err := h.del(c.t.Context(), who, mine[0]); err == nil {
			h.mu.Lock()
			h.removed[id] = true
			h.mu.Unlock()
		}
	}()
}

// play has users at work for a number of steps, and lets everything come to rest.
func (c *turnCluster) play(draw *rand.Rand, steps int) {
	c.mu.Lock()
	c.free = false
	c.mu.Unlock()
	var mu sync.Mutex
	users := 0
	for step := range steps {
		mu.Lock()
		idle := users < 4
		mu.Unlock()
		if idle && step < steps*3/4 && draw.IntN(6) == 0 {
			mu.Lock()
			users++
			mu.Unlock()
			c.user(c.hosts[draw.IntN(len(c.hosts))], draw, func() {
				mu.Lock()
				users--
				mu.Unlock()
			})
		}
		c.next(draw)
	}
	c.freeAll()
	time.Sleep(3 * time.Minute)
	synctest.Wait()
}

// told says whether the host's log has an error, or at least a warning, about
// Docker's network.
func (h *turnHost) told(docker string) bool {
	id := h.made[docker].id
	return slices.ContainsFunc(h.log.AllEntries(), func(e *logrus.Entry) bool {
		return e.Level <= logrus.WarnLevel && e.Data["docker"] == docker || e.Level == logrus.ErrorLevel && e.Data["id"] == id
	})
}

// check says what is not as users were told.
func (c *turnCluster) check() (wrong []string) {
	removed := map[string]bool{}
	for _, h := range c.hosts {
		maps.Copy(removed, h.removed)
	}
	for _, h := range c.hosts {
		in, all := h.records.Registry.Inventory(), h.listed()
		for _, n := range in.Live {
			if removed[n.ID] {
				wrong = append(wrong, fmt.Sprintf("%s: network %s (%s) was removed and is back", h.name, n.Name, n.ID))
			}
		}
		for docker, n := range all {
			if removed[in.Docker[docker].ID] {
				wrong = append(wrong, fmt.Sprintf("%s: network %s was removed and Docker has it", h.name, n.Name))
			}
		}
		for docker, made := range h.made {
			_, here := all[docker]
			switch {
			case removed[made.id], here && in.Docker[docker].Name != "":
			case !here && made.chosen:
				wrong = append(wrong, fmt.Sprintf("%s: network %s is gone, whose subnet somebody has chosen", h.name, docker))
			case !h.told(docker):
				wrong = append(wrong, fmt.Sprintf("%s: network %s is not the cluster's, and nobody was told", h.name, docker))
			}
		}
		wrong = append(wrong, h.lacks(in, all)...)
	}
	return wrong
}

// lacks says which networks the host's Docker should have and has not, or has and
// should not.
func (h *turnHost) lacks(in registry.Inventory, all map[string]engine.Network) (wrong []string) {
	has := map[string]string{} // weft's id by name
	conflicts := h.session.Status().Conflicts
	for docker, n := range all {
		has[n.Name] = in.Docker[docker].ID
		if in.Docker[docker].Name == "" && conflicts[n.Name].Text == "" {
			wrong = append(wrong, fmt.Sprintf("%s: network %s has no name in the cluster", h.name, n.Name))
		}
	}
	for _, n := range in.Live {
		if n.Name != "" && has[n.Name] != n.ID && conflicts[n.Name].Text == "" {
			wrong = append(wrong, fmt.Sprintf("%s: Docker lacks network %s (%s)", h.name, n.Name, n.ID))
		}
	}
	return wrong
}

// However creations, removals and mirroring on several hosts interleave, a network
// whose removal was answered with success is gone everywhere, no network goes without
// its user being told, none at all if he chose its subnet, and all hosts have the same
// in the end.
func TestWhatUsersAreToldHolds(t *testing.T) {
	for seed := range uint64(turnSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTurnCluster(t, 3)
				defer c.end()
				c.play(rand.New(rand.NewPCG(seed, 0)), 1500)
				for _, w := range c.check() {
					t.Error(w)
				}
				n := 0
				for _, h := range c.hosts {
					n += len(h.removed)
				}
				t.Logf("%d networks, %d removed", c.nets, n)
			})
		})
	}
}

// turnSeeds is how many orders are tried.
const turnSeeds = 20

// weft is killed after it has recorded a network that is mirrored and before Docker
// has it, and Docker gives it up: the next weft does not take long to notice.
func TestKilledWhileItMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTurnCluster(t, 2)
		defer c.end()
		h1, h2 := c.hosts[0], c.hosts[1]
		if _, _, err := h1.post(t.Context(), "user", "a", c.subnet()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		h2.stop()
		if h2.mu.Lock(); len(h2.all) != 1 {
			t.Fatal("h2 does not have the network")
		}
		clear(h2.all)
		h2.mu.Unlock()
		c.start(h2)
		time.Sleep(1500 * time.Millisecond)
		if len(h2.listed()) != 1 {
			t.Error("h2 does not have the network 1.5 s after its weft's start")
		}
	})
}

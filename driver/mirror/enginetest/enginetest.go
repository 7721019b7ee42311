// Package enginetest is a model of Docker's API over a unix socket, for tests.
package enginetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"
)

// Dockerd keeps networks and containers, sends events, and calls a driver as
// Docker does.
type Dockerd struct {
	Version string // of the API; requests in newer ones are refused
	Oldest  string // requests in older ones are refused; "": none
	Twins   bool   // two networks may have one name, as in Docker 20.10's race

	path   string
	driver Driver
	server *httptest.Server

	mu       sync.Mutex
	networks map[string]network.Inspect
	boxes    map[string]container.InspectResponse
	busy     chan struct{} // closed: containers are told; nil: at once
	streams  map[chan events.Message]bool
	next     int
	calls    map[string]int // method and path without ids
	slow     chan struct{}  // closed: answers go out; nil: at once
}

// Driver answers Docker's driver calls.
type Driver interface {
	CreateNetwork(dockerID string, req network.CreateRequest) error
	DeleteNetwork(dockerID string)
}

// New makes a Docker that answers from Start on, until the test ends.
func New(t testing.TB, driver Driver) *Dockerd {
	t.Helper()
	d := &Dockerd{
		path: filepath.Join(t.TempDir(), "docker.sock"), driver: driver, Version: "1.41",
		networks: map[string]network.Inspect{}, boxes: map[string]container.InspectResponse{}, streams: map[chan events.Message]bool{}, calls: map[string]int{},
	}
	t.Cleanup(d.Stop)
	return d
}

// Host is the address of its API.
func (d *Dockerd) Host() string { return "unix://" + d.path }

// Start begins to listen, in the versions that Version and Oldest say then.
func (d *Dockerd) Start(t testing.TB) {
	t.Helper()
	l, err := net.Listen("unix", d.path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET /version":              d.versions,
		"GET /events":               d.follow,
		"GET /networks":             d.list,
		"GET /networks/{id}":        d.inspect,
		"GET /containers/json":      d.containers,
		"GET /containers/{id}/json": d.container,
		"DELETE /networks/{id}":     d.remove,
		"POST /networks/create":     d.create,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			d.mu.Lock()
			d.calls[pattern]++
			slow := d.slow
			d.mu.Unlock()
			if slow != nil {
				select {
				case <-slow:
				case <-r.Context().Done():
				}
			}
			handle(w, r)
		})
	}
	server := httptest.NewUnstartedServer(d.versioned(mux))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	d.mu.Lock()
	d.server = server
	d.mu.Unlock()
}

// versioned takes the API's version off requests' paths.
func (d *Dockerd) versioned(next http.Handler) http.Handler {
	version, oldest := d.Version, d.Oldest
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
		switch {
		case r.URL.Path == "/_ping":
			w.Header().Set("Api-Version", version)
			return
		case versions.GreaterThan(asked, version):
			answer(w, http.StatusBadRequest, "client version "+asked+" is too new")
			return
		case oldest != "" && versions.LessThan(asked, oldest):
			answer(w, http.StatusBadRequest, "client version "+asked+" is too old. Minimum supported API version is "+oldest)
			return
		}
		r.URL.Path = "/" + rest
		next.ServeHTTP(w, r)
	})
}

func (d *Dockerd) versions(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(types.Version{APIVersion: d.Version, MinAPIVersion: d.Oldest})
}

// Stop ends the process: connections break, networks and containers stay.
func (d *Dockerd) Stop() {
	d.mu.Lock()
	server := d.server
	d.server = nil
	d.mu.Unlock()
	if server != nil {
		server.CloseClientConnections()
		server.Close()
	}
}

// Count says how many requests of the pattern there were, as in "GET /networks/{id}".
func (d *Dockerd) Count(pattern string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[pattern]
}

// SetSlow keeps all answers back until the channel is closed.
func (d *Dockerd) SetSlow(slow chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = slow
}

// SetBusy keeps answers about containers back until the channel is closed.
func (d *Dockerd) SetBusy(busy chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = busy
}

// ByName gives the networks of the name.
func (d *Dockerd) ByName(name string) []network.Inspect {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []network.Inspect
	for _, n := range d.networks {
		if n.Name == name {
			out = append(out, n)
		}
	}
	return out
}

// Send sends an event.
func (d *Dockerd) Send(m events.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ch := range d.streams {
		ch <- m
	}
}

// Make is what `docker network create` does.
func (d *Dockerd) Make(req network.CreateRequest) (string, error) {
	d.mu.Lock()
	for _, n := range d.networks {
		if n.Name == req.Name && !d.Twins {
			d.mu.Unlock()
			return "", fmt.Errorf("network with name %s already exists", req.Name)
		}
	}
	d.next++
	id := fmt.Sprintf("%064d", d.next)
	created := time.Unix(int64(d.next), 0)
	d.mu.Unlock()
	if req.Driver == "weft" {
		if err := d.driver.CreateNetwork(id, req); err != nil {
			return "", err
		}
	}
	n := network.Inspect{
		Name: req.Name, ID: id, Created: created, Driver: req.Driver, Internal: req.Internal, Attachable: req.Attachable,
		Options: req.Options, Labels: req.Labels, Containers: map[string]network.EndpointResource{},
	}
	if req.IPAM != nil {
		n.IPAM = *req.IPAM
	}
	if req.EnableIPv6 != nil {
		n.EnableIPv6 = *req.EnableIPv6
	}
	d.mu.Lock()
	d.networks[id] = n
	d.mu.Unlock()
	d.Send(events.Message{Type: "network", Action: "create", Actor: events.Actor{ID: id}})
	return id, nil
}

// Unmake is what `docker network rm` does.
func (d *Dockerd) Unmake(id string) (code int) {
	d.mu.Lock()
	n, ok := d.networks[id]
	if ok && len(n.Containers) == 0 {
		delete(d.networks, id)
	}
	d.mu.Unlock()
	if !ok {
		return http.StatusNotFound
	}
	if len(n.Containers) > 0 {
		return http.StatusForbidden
	}
	if n.Driver == "weft" {
		d.driver.DeleteNetwork(id)
	}
	d.Send(events.Message{Type: "network", Action: "destroy", Actor: events.Actor{ID: id}})
	return http.StatusNoContent
}

// Show makes the network show the endpoint under the container's name. If the name
// is empty, the network shows the endpoint no more.
func (d *Dockerd) Show(id, endpoint, container string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.networks[id].Containers, func(_ string, c network.EndpointResource) bool { return c.EndpointID == endpoint })
	if container != "" {
		d.networks[id].Containers["ep-"+endpoint] = network.EndpointResource{Name: container, EndpointID: endpoint}
	}
}

// Creates is what `docker create` does, for one network.
func (d *Dockerd) Creates(in, name, containerID, hostname string, aliases ...string) {
	d.mu.Lock()
	d.boxes[containerID] = container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: containerID, Name: "/" + name, State: &container.State{}},
		Config:            &container.Config{Hostname: hostname},
		NetworkSettings:   &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{in: {Aliases: aliases}}},
	}
	d.mu.Unlock()
	d.Send(events.Message{Type: "container", Action: "create", Actor: events.Actor{ID: containerID, Attributes: map[string]string{"name": name}}})
}

// Started makes the network show the endpoint as that of a running container.
func (d *Dockerd) Started(id, endpoint, name, containerID, hostname string, aliases ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.networks[id].Containers, "ep-"+endpoint)
	d.networks[id].Containers[containerID] = network.EndpointResource{Name: name, EndpointID: endpoint}
	d.setBoxLocked(id, endpoint, name, containerID, hostname, aliases)
}

// Starting makes the network show the endpoint, while Docker is starting the
// container.
func (d *Dockerd) Starting(id, endpoint, name, containerID, hostname string, aliases ...string) {
	d.Show(id, endpoint, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setBoxLocked(id, endpoint, name, containerID, hostname, aliases)
}

func (d *Dockerd) setBoxLocked(id, endpoint, name, containerID, hostname string, aliases []string) {
	d.boxes[containerID] = container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: containerID, Name: "/" + name, State: &container.State{}},
		Config:            &container.Config{Hostname: hostname},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			d.networks[id].Name: {EndpointID: endpoint, Aliases: aliases},
		}},
	}
}

// Runs makes a container run with the endpoint.
func (d *Dockerd) Runs(id, endpoint, name, containerID, address string) {
	d.Started(id, endpoint, name, containerID, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.boxes[containerID]
	c.State = &container.State{Running: true}
	c.NetworkSettings.SandboxKey = "/var/run/docker/netns/" + containerID
	n := c.NetworkSettings.Networks[d.networks[id].Name]
	n.NetworkID, n.IPAddress, n.MacAddress = id, address, "02:00:00:00:00:09"
}

// Remove removes a container, and tells nobody.
func (d *Dockerd) Remove(containerID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.boxes, containerID)
}

// Drop removes a network, and tells nobody.
func (d *Dockerd) Drop(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.networks, id)
}

func (d *Dockerd) containers(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []container.Summary{}
	for id, c := range d.boxes {
		if strings.Contains(r.FormValue("filters"), container.StateExited) {
			continue // all of them run
		}
		out = append(out, container.Summary{ID: id, NetworkSettings: &container.NetworkSettingsSummary{Networks: c.NetworkSettings.Networks}})
	}
	_ = json.NewEncoder(w).Encode(out)
}

// container answers like Docker only when nothing is done to the container.
func (d *Dockerd) container(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	busy := d.busy
	d.mu.Unlock()
	if busy != nil {
		select {
		case <-busy:
		case <-r.Context().Done():
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.boxes[r.PathValue("id")]
	if !ok {
		answer(w, http.StatusNotFound, "container not found")
		return
	}
	_ = json.NewEncoder(w).Encode(c)
}

func (d *Dockerd) follow(w http.ResponseWriter, r *http.Request) {
	ch := make(chan events.Message, 100)
	d.mu.Lock()
	d.streams[ch] = true
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.streams, ch)
		d.mu.Unlock()
	}()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case m := <-ch:
			_ = json.NewEncoder(w).Encode(m)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func (d *Dockerd) list(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	out := []network.Inspect{}
	for _, n := range d.networks {
		n.Containers = nil
		out = append(out, n)
	}
	d.mu.Unlock()
	_ = json.NewEncoder(w).Encode(out)
}

func (d *Dockerd) inspect(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.networks[r.PathValue("id")]
	if !ok {
		answer(w, http.StatusNotFound, "network not found")
		return
	}
	_ = json.NewEncoder(w).Encode(n)
}

func (d *Dockerd) remove(w http.ResponseWriter, r *http.Request) {
	answer(w, d.Unmake(r.PathValue("id")), "network has active endpoints")
}

func (d *Dockerd) create(w http.ResponseWriter, r *http.Request) {
	var req network.CreateRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	id, err := d.Make(req)
	switch {
	case err != nil && strings.Contains(err.Error(), "already exists"):
		answer(w, http.StatusConflict, err.Error())
	case err != nil:
		answer(w, http.StatusInternalServerError, err.Error())
	default:
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(network.CreateResponse{ID: id})
	}
}

func answer(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if code != http.StatusNoContent {
		_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
	}
}

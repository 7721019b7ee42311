package control

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
)

// Status is the answer to GET /v1/status.
type Status struct {
	Healthy  bool     `json:"healthy"`  // there are no Problems
	Problems []string `json:"problems"` // what is wrong and concerns this host, a sentence each
	Warnings []string `json:"warnings"` // what is wrong elsewhere, a sentence each

	Version string    `json:"version"`
	Commit  string    `json:"commit"`
	Started time.Time `json:"started"`
	Host    string    `json:"host"`
	VTEP    string    `json:"vtep"` // underlay address, empty if there is none
	Port    uint16    `json:"port"` // VXLAN UDP port
	MTU     int       `json:"mtu"`  // bytes, of the underlay
	Cluster string    `json:"cluster"`

	Goroutines int `json:"goroutines"` // of the daemon: more and more of them would be a leak

	Store   Store            `json:"store"`
	Docker  Docker           `json:"docker"`
	Passes  Passes           `json:"passes"`
	Keys    Keys             `json:"keys"`
	Fast    FastPath         `json:"fast_path"`
	Direct  Direct           `json:"direct"`
	Counts  Counts           `json:"counts"`
	Skipped []skipped.Record `json:"skipped"` // records of the store that this host passes over
}

// Counts says how much there is.
type Counts struct {
	Networks      int `json:"networks"`       // in the cluster
	Endpoints     int `json:"endpoints"`      // in the cluster, those of this host included
	EndpointsHere int `json:"endpoints_here"` // on this host
	Hosts         int `json:"hosts"`          // in the cluster: the sum of the next three
	HostsLive     int `json:"hosts_live"`     // this one included
	HostsDown     int `json:"hosts_down"`
	HostsUnknown  int `json:"hosts_unknown"`
	HostsSilent   int `json:"hosts_silent"` // whatever their state
	Stock         int `json:"stock"`        // addresses that this host has claimed ahead of use
	Duplicates    int `json:"duplicates"`   // addresses that are used twice
}

// NetworkState says in one word how a network is doing on this host.
type NetworkState string

// The states of a network; if several hold, the first.
const (
	NetworkRemoving NetworkState = "removing" // removed in the cluster, still used here
	NetworkConflict NetworkState = "conflict" // this host's Docker cannot have it, see Conflict
	NetworkFailed   NetworkState = "failed"   // the kernel could not be set up for it, or not for all of its containers
	NetworkUnnamed  NetworkState = "unnamed"  // Docker's API has not told its name, so it is not mirrored
	NetworkRemote   NetworkState = "remote"   // this host's Docker does not have it (yet)
	NetworkNarrow   NetworkState = "narrow"   // this host's underlay cannot carry the MTU that it was created with
	NetworkOK       NetworkState = "ok"
)

// Network is one element of the answer to GET /v1/networks.
type Network struct {
	ID        string         `json:"id"`
	Name      string         `json:"name,omitempty"`
	VNI       uint32         `json:"vni"`
	Subnets   []netip.Prefix `json:"subnets"`
	MTU       int            `json:"mtu"`       // bytes, in effect on this host
	Hosts     int            `json:"hosts"`     // whose Docker has it
	Endpoints int            `json:"endpoints"` // in the cluster
	State     NetworkState   `json:"state"`
	Why       string         `json:"why,omitempty"` // one sentence if State is not ok
}

// NetworkDetail is the answer to GET /v1/networks/{id or name}.
type NetworkDetail struct {
	Network
	Record  overlay.Network `json:"record"`             // as it is in the store
	MTUHost string          `json:"mtu_host,omitempty"` // whose underlay bounds the MTU; empty: it was created with it
	Narrow  []string        `json:"narrow"`             // hosts that cannot carry it, a sentence each
	Ignored []string        `json:"ignored_options"`    // options from which nothing follows, and why
	Unkept  []string        `json:"unkept_options"`     // options that promise what weft does not keep, and why
	On      []NetworkHost   `json:"on"`                 // the hosts whose Docker has it, by name
}

// NetworkHost is what one host has in a network.
type NetworkHost struct {
	Host      string       `json:"host"`
	State     HostLiveness `json:"state"`
	Endpoints []Endpoint   `json:"endpoints"`
	Stock     []netip.Addr `json:"stock"` // claimed ahead of use
}

// Endpoint is one element of the answer to GET /v1/endpoints.
type Endpoint struct {
	ID          string        `json:"id"`                  // Docker's
	Container   string        `json:"container,omitempty"` // its name, once Docker's API has told it
	Network     string        `json:"network"`             // weft's id
	NetworkName string        `json:"network_name,omitempty"`
	Host        string        `json:"host"`
	Addrs       []netip.Addr  `json:"addrs"` // IPv4 first
	MAC         overlay.MAC   `json:"mac"`
	Phase       overlay.Phase `json:"phase,omitempty"` // known of this host's endpoints only
}

// HostLiveness says whether a host holds its lease in the store.
type HostLiveness string

// The liveness of a host.
const (
	HostLive    HostLiveness = "live"
	HostDown    HostLiveness = "down"
	HostUnknown HostLiveness = "unknown" // the store, which would know, does not answer; or the host has no record
)

// Host is one element of the answer to GET /v1/hosts.
type Host struct {
	Name        string       `json:"name"`
	Self        bool         `json:"self"` // it is the one that answers
	Incarnation string       `json:"incarnation"`
	VTEP        string       `json:"vtep"` // underlay address, empty if there is none
	Port        uint16       `json:"port"` // VXLAN UDP port
	MTU         int          `json:"mtu"`  // bytes, of the underlay
	Version     string       `json:"version"`
	State       HostLiveness `json:"state"`
	Since       time.Time    `json:"since,omitzero"` // of State
	Silent      bool         `json:"silent"`         // it is not heard directly any more, so its containers have no names unless its machine answers
	Networks    int          `json:"networks"`       // that its Docker has
	Endpoints   int          `json:"endpoints"`
}

// Filter chooses endpoints; an empty field lets all pass.
type Filter struct {
	Network string // id or name
	Host    string
}

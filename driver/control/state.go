package control

import (
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
)

// Source gathers what the daemon knows at this moment. It must not block on
// anything outside the process.
type Source func() State

// State is everything that the views are made from.
type State struct {
	Version string    // of the daemon
	Commit  string    // from which it was built
	Started time.Time // of the daemon
	Cluster string    // the cluster's identity; empty until the store has told it

	Goroutines int // of the daemon

	// Snapshot is what this host plans from.
	Snapshot overlay.Snapshot
	// Own are this host's attachments, one for each network that its Docker
	// has. Their endpoints are not used: Snapshot.Local knows more.
	Own []overlay.Attachment
	// Hosts are the other hosts.
	Hosts []HostState

	// Skipped are the records of the store that this host passes over, sorted.
	Skipped []skipped.Record

	Store  Store
	Keys   Keys
	Docker Docker
	Passes Passes
	Fast   FastPath
	Direct Direct
}

// HostState is another host's record with what was last known of its liveness.
type HostState struct {
	overlay.Host
	Live  bool
	Since time.Time // when Live last changed; zero if not known
	// Silent: it was heard directly, and has not been for some seconds.
	Silent bool
	Heard  time.Time // when it was last heard directly; zero: not since the daemon's start, or it rests
}

// Store tells how the cluster's store is doing.
type Store struct {
	URL       string    `json:"url"`             // as in --store; holds no secret
	Reachable bool      `json:"reachable"`       // it answered when last asked
	Since     time.Time `json:"since,omitzero"`  // when Reachable last changed
	Error     string    `json:"error,omitempty"` // why it is not reachable
}

// Keys tells which keys seal direct messages.
type Keys struct {
	Generation uint64   `json:"generation"` // how many keys came after the first one
	Count      int      `json:"count"`      // in use: more than one while they change
	Waits      []string `json:"waits"`      // hosts that are alive and have not taken the newest over
}

// FastPath tells of the way around bridge, tunnel and netfilter.
type FastPath struct {
	Open     bool   `json:"open"`            // packets may take it
	Cause    string `json:"cause,omitempty"` // kind of Why: off, idle, kernel, host, others or fault
	Why      string `json:"why,omitempty"`   // there is none, or it is not known how it does
	Networks int    `json:"networks"`        // with containers here that take it
	Sent     uint64 `json:"sent"`            // packets to other hosts since the daemon's start
	Received uint64 `json:"received"`        // packets from other hosts
	Local    uint64 `json:"local"`           // packets between containers of this host

	SentDirect     uint64 `json:"sent_direct"`     // packets to other hosts without a tunnel; Sent does not count them
	ReceivedDirect uint64 `json:"received_direct"` // packets from other hosts, likewise

	// Slow are the networks with containers here that do without, and why.
	Slow map[string]string `json:"slow,omitempty"`
	// Faults are those of Slow that ought to take it, by id, sorted.
	Faults []string `json:"faults,omitempty"`
}

// Docker tells how the connection to Docker's API is doing, over which
// networks are mirrored and containers' names come.
type Docker struct {
	Mirroring bool       `json:"mirroring"`       // false: --docker="", nothing else here means anything
	URL       string     `json:"url,omitempty"`   // as in --docker
	Connected bool       `json:"connected"`       // events are being read
	Since     time.Time  `json:"since,omitzero"`  // when Connected last changed
	Error     string     `json:"error,omitempty"` // why it is not connected
	Conflicts []Conflict `json:"conflicts"`
}

// Conflict is a network that is not on this host as the cluster has it.
type Conflict struct {
	Network string `json:"network"`      // its name, or weft's id if it has none
	ID      string `json:"id,omitempty"` // weft's id of it; the cluster's network of that name may have another
	Text    string `json:"text"`         // one sentence: why, and what to do
}

// Passes tells how the kernel is being kept to the records.
type Passes struct {
	Count   uint64        `json:"count"`           // since the daemon's start
	Repairs uint64        `json:"repairs"`         // drift that passes have mended, since the daemon's start
	Last    time.Time     `json:"last,omitzero"`   // end of the last one
	Took    time.Duration `json:"took_ns"`         // of the last one, nanoseconds
	Every   time.Duration `json:"every_ns"`        // the longest time between two, nanoseconds; 0: not known
	Errors  []string      `json:"errors"`          // of the last one, a sentence each
	Failed  []string      `json:"failed_networks"` // ids of the networks that Errors speak of
}

// A pass counts as overdue after this many times Passes.Every, or after
// overdueLeast if that is longer: one pass may have much to do.
const (
	overdueTimes = 3
	overdueLeast = time.Minute
)

// Overdue says whether the last pass is so long ago that a call to the kernel may
// be hanging. Before the first one nothing is.
func (p Passes) Overdue(now time.Time) bool {
	return p.Count > 0 && p.Every > 0 && now.Sub(p.Last) > max(overdueTimes*p.Every, overdueLeast)
}

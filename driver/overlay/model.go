package overlay

import (
	"cmp"
	"net/netip"
	"time"
)

// Subnet is one address pool of a network. Addresses of both families take
// this one type.
type Subnet struct {
	Prefix  netip.Prefix          `json:"prefix"`           // masked
	Gateway netip.Addr            `json:"gateway,omitzero"` // same on every host; invalid if there is none
	Chosen  bool                  `json:"chosen,omitempty"` // a person has named Prefix; else weft has
	Range   netip.Prefix          `json:"range,omitzero"`   // --ip-range; invalid means all of Prefix
	Aux     map[string]netip.Addr `json:"aux,omitempty"`    // --aux-address by its name
	Rest    Rest                  `json:"-"`
}

// Network is one cluster network's record, written by compare-and-set.
type Network struct {
	ID         string            `json:"id"`             // weft's own id, see ValidID
	Name       string            `json:"name,omitempty"` // Docker's name; empty until Docker's API has told it
	VNI        uint32            `json:"vni"`            // 1 to 2^24-3, see TrialVNI
	Subnets    []Subnet          `json:"subnets"`        // IPv4 before IPv6, in Docker's order
	MTU        int               `json:"mtu,omitempty"`  // bytes; 0 follows the underlay
	Internal   bool              `json:"internal,omitempty"`
	Unguarded  bool              `json:"unguarded,omitempty"` // weft.port_isolation=false: endpoints may send from any address
	Tunnelled  bool              `json:"tunnelled,omitempty"` // weft.path=tunnel: no packet goes without a tunnel
	Options    map[string]string `json:"options,omitempty"`   // -o as the user gave it, without weft.id
	Labels     map[string]string `json:"labels,omitempty"`
	Attachable bool              `json:"attachable,omitempty"`
	IPv6       bool              `json:"ipv6,omitempty"`
	Swarm      bool              `json:"swarm,omitempty"`   // Swarm takes it to the nodes, so weft does not mirror it
	Host       string            `json:"host"`              // where it was created
	Created    time.Time         `json:"created"`           // after that of any network which had the ID before
	Version    uint64            `json:"version,omitempty"` // counts the changes since Created
	Rebuilt    bool              `json:"rebuilt,omitempty"` // made again from a host's Docker and kernel, after every record was lost
	Deleted    time.Time         `json:"deleted,omitzero"`  // set: a tombstone. Absence of a record never means deletion.
	Rest       Rest              `json:"-"`
}

// Title is how a sentence calls the network: by Docker's name, or by its id as
// long as Docker's API has not told the name. Not quoted.
func (n Network) Title() string { return cmp.Or(n.Name, n.ID) }

// Prefixes are the prefixes of the network's subnets.
func (n Network) Prefixes() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(n.Subnets))
	for _, s := range n.Subnets {
		out = append(out, s.Prefix)
	}
	return out
}

// MinMTU is the least MTU of a network and of an underlay: IPv6 works with no less
// (RFC 8200 section 5).
const MinMTU = 1280

// Host is one host's record, written only by that host.
type Host struct {
	Name        string     `json:"name"`
	Incarnation string     `json:"inc"`  // new whenever the host lost its own state
	VTEP        netip.Addr `json:"vtep"` // underlay address
	Port        uint16     `json:"port"` // VXLAN UDP port
	MTU         int        `json:"mtu"`  // bytes, of the underlay interface
	Version     string     `json:"version"`

	// Push is where the host hears direct messages, over UDP and TCP. Invalid: the
	// host hears none, and knows only what the store says.
	Push netip.AddrPort `json:"push,omitzero"`

	// Key is the public half of the key by which the host signs direct messages
	// (Ed25519), in base64; empty: it does not sign.
	Key string `json:"key,omitempty"`

	// Keys tells which of the cluster's keys the host has taken over. Zero: its weft
	// does not tell, see driver/keys.
	Keys Keys `json:"keys,omitzero"`

	// Direct is the MAC at which the host takes packets of networks without a tunnel.
	// Zero: it takes none.
	Direct MAC `json:"direct,omitzero"`

	// Probe grows to an odd number when the host asks all hosts to probe the paths
	// between them, and to an even one when it has its answer.
	Probe uint64 `json:"probe,omitempty"`
}

// Keys tells which of the keys of direct messages a host has.
type Keys struct {
	Generation uint64 `json:"g,omitempty"` // of the newest
	Newest     string `json:"id"`          // its id
	Count      int    `json:"n"`           // how many keys it has
}

// Phase is how far an endpoint has come:
//
//	Created ──Join──> Joined ──Leave──> Left ──DeleteEndpoint──> (gone)
//	   └──────────────DeleteEndpoint─────────────────────────────^
//
// and from any of them to Lost, which ends with DeleteEndpoint too.
type Phase string

// The phases of an endpoint.
const (
	Created Phase = "created" // recorded, no link is needed yet
	Joined  Phase = "joined"  // a link must exist, in the host's namespace or in the sandbox
	Left    Phase = "left"    // Docker is about to delete it: an existing link stays, none is made
	Lost    Phase = "lost"    // an address of it is another host's by now: it must have no link
)

// Endpoint is one container's interface in a network, written only by its host.
type Endpoint struct {
	ID      string       `json:"id"`      // Docker's endpoint id
	Network string       `json:"network"` // weft's network id
	MAC     MAC          `json:"mac"`
	Addrs   []netip.Addr `json:"addrs"` // at most one of each family, IPv4 first
	Phase   Phase        `json:"phase"`
	Sandbox string       `json:"sandbox,omitempty"` // path of the container's network namespace, from Join
	Name    string       `json:"name,omitempty"`    // container name, once Docker's API has told it
	Names   []string     `json:"names,omitempty"`   // all names it is found by, Name first
	Created time.Time    `json:"created"`

	// Arriving: Docker has not brought its link up yet, so nobody is told its names.
	Arriving bool `json:"-"`
}

// Attachment is what one host has in one network: the document that peers
// read. It exists as long as the host's Docker has the network.
type Attachment struct {
	Network     string         `json:"network"`
	Host        string         `json:"host"`
	Incarnation string         `json:"inc"`
	Endpoints   []PeerEndpoint `json:"endpoints,omitempty"` // sorted by ID
	Stock       []netip.Addr   `json:"stock,omitempty"`     // claimed addresses without an endpoint, sorted

	// Asks are addresses that the host wants and that it asks others to give up if they
	// have them in stock: at most MostAsks, sorted. What others say here may be anything.
	Asks []netip.Addr `json:"asks,omitempty"`

	// Seq grows with every change of any attachment of the host. It never repeats
	// within an incarnation, and stays while the content stays. It orders documents
	// that come through the store and directly.
	Seq uint64 `json:"seq,omitzero"`

	// Gone: the host has no part in the network any more. Only direct messages say so;
	// the store has no such record.
	Gone bool `json:"gone,omitempty"`

	// Reader is the lowest format that may read it, see driver/format; 0: any.
	Reader int `json:"v,omitempty"`
}

// MostAsks is how many addresses one host asks others for in one network at a time. More
// are not listened to.
const MostAsks = 16

// PeerEndpoint is an Endpoint as other hosts need to know it.
type PeerEndpoint struct {
	ID    string       `json:"id"`
	MAC   MAC          `json:"mac"`
	Addrs []netip.Addr `json:"addrs"`
	Name  string       `json:"name,omitempty"`
	Names []string     `json:"names,omitempty"`
}

// Remains is what one host's kernel has of a network, whatever its records say.
type Remains struct {
	ID    string
	VNI   uint32       // 0: it has no tunnel
	Ports []string     // names of its bridge ports, see PortLink; sorted
	Peers []netip.Addr // VTEPs of the other hosts that have addresses in it, in use or claimed; sorted
}

// Snapshot is everything that Plan looks at.
type Snapshot struct {
	Self     Host
	Hosts    map[string]Host         // the peers to which packets are sent, by name
	Networks map[string]Network      // live networks by id
	Local    []Endpoint              // this host's endpoints
	Held     map[string][]netip.Addr // by network id: addresses that this host has claimed, in use or not
	Peers    map[string][]Attachment // by network id: other hosts' attachments
	Partial  bool                    // Local may lack endpoints that this host has, see Config

	// Silent are the hosts that were heard directly and are not any more, except hosts
	// whose machines answer. Plan goes on forwarding to them, but names of their
	// containers are not given out.
	Silent map[string]bool

	// Probes are the requests to probe paths that are under way: their numbers, by
	// host.
	Probes map[string]uint64
}

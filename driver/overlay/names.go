package overlay

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// Names of the two devices inside a network's namespace.
const (
	Bridge = "br0"
	VXLAN  = "vx0"
)

// Names of the veth pair by which a network refuses what is sent to addresses
// that no container has.
const (
	RefusePort = "rf0" // a bridge port
	RefuseEnd  = "rf1" // where the kernel answers
)

// FastInner is the network's end of the veth pair that the fast path redirects packets
// over, see FastOuter.
const FastInner = "fp0"

// NamespacePrefix begins the name of every network's namespace.
const NamespacePrefix = "weft-"

// Prefixes of the two ends of an endpoint's veth pair. A kernel link name has
// at most 15 bytes (IFNAMSIZ-1 in linux/if.h).
const (
	PortPrefix      = "wp" // the end in the network's namespace, a bridge port
	ContainerPrefix = "wc" // the end that Docker moves into the sandbox
)

// Namespace is the name of the network's namespace under /run/netns.
func Namespace(network string) string { return NamespacePrefix + network }

// PortLink is the name of the endpoint's bridge port.
func PortLink(endpoint string) string { return PortPrefix + short(endpoint) }

// ContainerLink is the name of the endpoint's other end until Docker renames it.
func ContainerLink(endpoint string) string { return ContainerPrefix + short(endpoint) }

// FastOuter is the name of the end of the fast path's pair in the host's namespace.
func FastOuter(network string) string {
	sum := sha256.Sum256([]byte(network)) // ids of the user's choice may be longer than a name
	return fastPrefix + hex.EncodeToString(sum[:6])
}

const fastPrefix = "wf"

func short(id string) string { return id[:min(len(id), 12)] }

var validID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)

// ValidID says whether s may be a network id: 1 to 63 letters, digits, '_',
// '.' or '-', the first a letter or digit. Generated ids are 12 hex digits;
// a user who joins by hand may choose a word.
func ValidID(s string) bool { return validID.MatchString(s) }

var generatedID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// GeneratedID says whether s has the form of the ids that weft generates, which a person
// would not choose.
func GeneratedID(s string) bool { return generatedID.MatchString(s) }

// Docker's endpoint ids are 64 hex digits, so links of weft's never look
// like someone's "wpan0" or "wcard".
var (
	portLink      = regexp.MustCompile(`^` + PortPrefix + `[0-9a-f]{12}$`)
	containerLink = regexp.MustCompile(`^` + ContainerPrefix + `[0-9a-f]{12}$`)
	fastOuter     = regexp.MustCompile(`^` + fastPrefix + `[0-9a-f]{12}$`)
)

// IsPortLink says whether a link of this name is some endpoint's bridge port.
func IsPortLink(name string) bool { return portLink.MatchString(name) }

// IsContainerLink says whether a link of this name is some endpoint's other end.
func IsContainerLink(name string) bool { return containerLink.MatchString(name) }

// IsFastOuter says whether a link of this name is the host's end of some network's
// pair of the fast path.
func IsFastOuter(name string) bool { return fastOuter.MatchString(name) }

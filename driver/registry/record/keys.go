package record

import (
	"strconv"
	"strings"

	"github.com/weft-net/weft/driver/overlay"
)

// Keys in the cluster's store.
const (
	HostPrefix = "host/"

	// HeardPrefix is no host's, as no name begins with a dot: Consul gives rights by
	// prefix, and each host may write what is under this one, see docs/operations.md.
	HeardPrefix = HostPrefix + ".heard/"

	NetPrefix = "net/"
	EpochKey  = "net/.epoch" // a watched prefix must never be empty

	NamePrefix = "name/"
	VNIPrefix  = "vni/"

	AttachPrefix = "at/"

	// MetaKey is that of the cluster's identity, which also says which weft may take
	// part, see driver/format.
	MetaKey = "meta"
)

// HostKey is the key of what a host says of itself.
func HostKey(host string) string { return HostPrefix + host + "/doc" }

// LiveKey is the key that a host holds under its lease.
func LiveKey(host string) string { return HostPrefix + host + "/live" }

// DeadKey is the key of the mark of a host that was declared dead.
func DeadKey(host string) string { return HostPrefix + host + "/dead" }

// BackKey is written anew, with another value each time, whenever the host comes back
// after having been declared dead.
func BackKey(host string) string { return HostPrefix + host + "/back" }

// OwnerKey is the key of the machine and process that have the host's place.
func OwnerKey(host string) string { return HostPrefix + host + "/owner" }

// HeardKey is held under the lease of a host that hears the named one.
func HeardKey(host string) string { return HeardPrefix + host }

// AttachmentKey is the key of what the host has in the network.
func AttachmentKey(host, id string) string { return AttachPrefix + host + "/" + id }

// NetworkKey is the key of a network, or of its tombstone.
func NetworkKey(id string) string { return NetPrefix + id }

// NameKey has the id of the network of that name.
func NameKey(name string) string { return NamePrefix + name }

// VNIKey has the id of the network with that VNI.
func VNIKey(vni uint32) string { return VNIPrefix + strconv.FormatUint(uint64(vni), 10) }

// ParseHostKey takes apart host/<host>/<leaf>, and host/.heard/<host>, whose leaf is
// heard; ok is false if that is no key of weft's.
func ParseHostKey(key string) (host, leaf string, ok bool) {
	if host, ok := strings.CutPrefix(key, HeardPrefix); ok {
		return host, "heard", overlay.ValidID(host)
	}
	rest, ours := strings.CutPrefix(key, HostPrefix)
	host, leaf, _ = strings.Cut(rest, "/")
	switch leaf {
	case "doc", "live", "dead", "back", "owner":
		return host, leaf, ours && overlay.ValidID(host)
	}
	return "", "", false
}

// Lasting says whether nobody ever deletes the record with this key.
func Lasting(key string) bool {
	if id, ok := strings.CutPrefix(key, NetPrefix); ok {
		return overlay.ValidID(id)
	}
	_, leaf, ok := ParseHostKey(key)
	return ok && leaf == "doc"
}

package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/weft-net/weft/driver/overlay"
)

// Keys in the cluster's store.
const (
	hostPrefix = "host/"

	// heardPrefix is no host's, as no name begins with a dot: Consul gives rights by
	// prefix, and each host may write what is under this one, see docs/operations.md.
	heardPrefix = hostPrefix + ".heard/"

	netPrefix = "net/"
	netEpoch  = "net/.epoch" // see epoch.go; a watched prefix must never be empty

	attachPrefix = "at/"

	// MetaKey is that of the cluster's identity, which also says which weft may take
	// part, see driver/format.
	MetaKey = "meta"
)

func hostDocKey(host string) string        { return hostPrefix + host + "/doc" }
func hostLiveKey(host string) string       { return hostPrefix + host + "/live" }
func heardKey(host string) string          { return heardPrefix + host } // see veto.go
func attachmentKey(host, id string) string { return attachPrefix + host + "/" + id }
func networkKey(id string) string          { return netPrefix + id }
func nameKey(name string) string           { return "name/" + name }
func vniKey(vni uint32) string             { return "vni/" + strconv.FormatUint(uint64(vni), 10) }

// parseHostKey takes apart host/<host>/<leaf>, and host/.heard/<host>, whose leaf is
// heard; false if that is no key of weft's.
func parseHostKey(key string) (host, leaf string, ok bool) {
	if host, ok := strings.CutPrefix(key, heardPrefix); ok {
		return host, "heard", overlay.ValidID(host)
	}
	rest, ours := strings.CutPrefix(key, hostPrefix)
	host, leaf, _ = strings.Cut(rest, "/")
	switch leaf {
	case "doc", "live", "dead", "back", "owner":
		return host, leaf, ours && overlay.ValidID(host)
	}
	return "", "", false
}

// Keys in this host's state.
const (
	stateSelf     = "self"
	stateBond     = "bond" // to the machine, see place.go
	stateMeta     = "meta"
	stateSign     = "sign"         // seed of the key by which this host signs
	stateDocker   = "docker/"      // Docker's network id → attached
	stateEndpoint = "endpoint/"    // endpoint id → overlay.Endpoint
	stateRebuild  = "rebuild"      // there while the rest may not be all
	stateMaking   = "making/"      // network id → overlay.Network that is being made here
	stateRemove   = "remove/"      // network id: to be removed everywhere if unused
	stateNetwork  = "replica/net/" // network id → overlay.Network
	stateHost     = "replica/host/"
	stateYield    = "yield"       // there while Yields is true
	stateEpoch    = "epoch"       // era
	stateSeen     = "seen"        // era.seen
	stateSequence = "sequence"    // numbers
	stateRan      = "ran"         // graves.ran
	stateGrave    = "grave/"      // network id → grave
	stateAttach   = "replica/at/" // host/network → overlay.Attachment
)

// digest is a short fingerprint of a record's bytes, by which peers see that
// it changed.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

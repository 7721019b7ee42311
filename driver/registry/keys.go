package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Keys in the cluster's store.
const (
	hostPrefix = "host/"
	netPrefix  = "net/"
	netEpoch   = "net/.epoch" // see epoch.go; a watched prefix must never be empty
	metaKey    = "meta"
)

func hostDocKey(host string) string        { return hostPrefix + host + "/doc" }
func hostLiveKey(host string) string       { return hostPrefix + host + "/live" }
func attachmentKey(host, id string) string { return "at/" + host + "/" + id }
func networkKey(id string) string          { return netPrefix + id }
func nameKey(name string) string           { return "name/" + name }
func vniKey(vni uint32) string             { return "vni/" + strconv.FormatUint(uint64(vni), 10) }

// parseHostKey takes apart host/<host>/<leaf>.
func parseHostKey(key string) (host, leaf string, err error) {
	rest, ok := strings.CutPrefix(key, hostPrefix)
	host, leaf, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || host == "" {
		return "", "", fmt.Errorf("key %q is no host's", key)
	}
	return host, leaf, nil
}

// Keys in this host's state.
const (
	stateSelf     = "self"
	stateMeta     = "meta"
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
	stateAttach   = "replica/at/" // host/network → overlay.Attachment
)

// digest is a short fingerprint of a record's bytes, by which peers see that
// it changed.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

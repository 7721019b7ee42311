package option

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-net/weft/driver/overlay"
)

// Keys that other packages read too.
const (
	MTU = "com.docker.network.driver.mtu" // bytes
	// VNIList is where Docker's own overlay keeps a network's VNI.
	VNIList = "com.docker.network.driver.overlay.vxlanid_list"
	// InterfacePrefix begins the names of the network's interfaces in containers.
	InterfacePrefix = "com.docker.network.container_iface_prefix"
	// Encrypted is weft's own name for "encrypted" of Docker's overlay.
	Encrypted = "weft.encrypted"
	// ID says which of weft's networks a Docker network is. It is an option of the
	// network (-o) and of its IPAM driver (--ipam-opt).
	ID = ownPrefix + "id"

	ownPrefix = "weft."
)

// Verdict is what becomes of an option.
type Verdict string

// The verdicts.
const (
	Kept    Verdict = "kept"    // what the option promises holds
	Ignored Verdict = "ignored" // nothing follows from it, and nobody relies on it
	Broken  Verdict = "broken"  // a user would rely on it, and it does not hold
)

// Judgement is what becomes of one option, and why.
type Judgement struct {
	Key, Value string
	Verdict    Verdict
	// Why is the second half of a sentence about the option. For Broken it says what
	// to do. Empty if the option is kept.
	Why string
}

// Judge judges one option of the network n. Of n it looks only at what Docker keeps
// outside of the options: whether it is internal, and its subnets.
func Judge(key, value string, n overlay.Network) Judgement {
	out := Judgement{Key: key, Value: value, Verdict: Ignored, Why: "weft has no use for it"}
	rule, ok := rules[key]
	switch {
	case ok:
		out.Verdict, out.Why = rule(value, n)
	case strings.HasPrefix(key, windowsPrefix):
		out.Verdict, out.Why = Broken, "it is for Windows, and weft runs on Linux; leave it out"
	case strings.HasPrefix(key, ownPrefix): // unknown and wrong ones were refused before
		out.Verdict, out.Why = Kept, ""
	}
	return out
}

// All judges each option of the network n, by key.
func All(n overlay.Network) []Judgement {
	var out []Judgement
	for _, key := range slices.Sorted(maps.Keys(n.Options)) {
		out = append(out, Judge(key, n.Options[key], n))
	}
	return out
}

// Those gives the judgements of n's options that have the verdict.
func Those(n overlay.Network, v Verdict) []Judgement {
	return slices.DeleteFunc(All(n), func(j Judgement) bool { return j.Verdict != v })
}

// AsksEncryption says whether the value of an option for encryption asks for it. An
// empty value does: Docker's overlay only looks whether the key is there.
func AsksEncryption(value string) bool { return !is(value, false) }

// maxPrefix leaves room for three digits: an interface's name may have 15 letters
// (IFNAMSIZ of linux/if.h).
const maxPrefix = 12

// PrefixOf gives the beginning of the names of n's interfaces in containers.
func PrefixOf(n overlay.Network) string {
	if p := n.Options[InterfacePrefix]; validPrefix(p) {
		return p
	}
	return "eth"
}

// validPrefix says whether interfaces' names may begin like that.
func validPrefix(p string) bool { return len(p) <= maxPrefix && overlay.ValidID(p) }

// is says whether the value means what, in any form that Docker takes.
func is(value string, what bool) bool {
	b, err := strconv.ParseBool(value)
	return err == nil && b == what
}

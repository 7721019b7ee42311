package driver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

// Keys of CreateNetwork's options that mean something to weft.
const (
	genericKey  = "com.docker.network.generic"     // holds what the user gave with -o
	internalKey = "com.docker.network.internal"    // bool
	ipv6Key     = "com.docker.network.enable_ipv6" // bool
	mtuKey      = option.MTU
	vniListKey  = option.VNIList
	ownPrefix   = "weft."
	idKey       = option.ID
	vniKey      = "weft.vni"
	modeKey     = "weft.mode"
	guardKey    = "weft.port_isolation"
	pathKey     = "weft.path"
)

// known are the options of weft's own, for the sentence that refuses others.
var known = []string{idKey, modeKey, pathKey, guardKey, vniKey}

// maxVNI leaves out the two VNIs above, which are weft's own.
const maxVNI = overlay.TrialVNI - 1

// parseOptions fills a network's record from CreateNetwork's options. Options
// of weft's own are strict; Docker's and other people's pass, see checkPromises.
func parseOptions(options map[string]any) (overlay.Network, error) {
	generic, err := stringMap(options[genericKey])
	if err != nil {
		return overlay.Network{}, err
	}
	n, err := ParseOptions(generic)
	n.Internal, _ = options[internalKey].(bool)
	n.IPv6, _ = options[ipv6Key].(bool)
	return n, err
}

// ParseOptions fills a network's record from what the user gave with -o, as
// Docker's API shows it too.
func ParseOptions(generic map[string]string) (overlay.Network, error) {
	n := overlay.Network{Options: map[string]string{}}
	for key, value := range generic {
		if key != idKey {
			n.Options[key] = value
		}
		if err := parseOption(&n, key, value); err != nil {
			return n, err
		}
	}
	return n, nil
}

func parseOption(n *overlay.Network, key, value string) error {
	refuse := func(want string) error { return fmt.Errorf("option %s=%q is refused: it takes %s", key, value, want) }
	switch key {
	case idKey:
		if !overlay.ValidID(value) || value == overlay.ProbeNetwork {
			return refuse("a network's id or name: 1 to 63 letters, digits, '_', '.' or '-'")
		}
		n.ID = value
	case modeKey:
		if value != "overlay" {
			return refuse(`"overlay", the only mode so far`)
		}
	case guardKey:
		guarded, err := strconv.ParseBool(value)
		if err != nil {
			return refuse("true or false")
		}
		n.Unguarded = !guarded
	case pathKey:
		if value != "auto" && value != "tunnel" {
			return refuse("auto or tunnel")
		}
		n.Tunnelled = value == "tunnel"
	case vniKey, vniListKey:
		vni, err := strconv.ParseUint(value, 10, 32)
		if err != nil || vni < 1 || vni > maxVNI {
			return refuse(fmt.Sprintf("a number from 1 to %d", maxVNI))
		}
		if n.VNI != 0 && n.VNI != uint32(vni) {
			return fmt.Errorf("options %s and %s differ: give one of them", vniKey, vniListKey)
		}
		n.VNI = uint32(vni)
	case mtuKey:
		mtu, err := strconv.Atoi(value)
		if err != nil || mtu < overlay.MinMTU || mtu > 65535 {
			return refuse(fmt.Sprintf("a number of bytes from %d to 65535", overlay.MinMTU))
		}
		n.MTU = mtu
	case option.Encrypted:
		// No network that exists has this, so even one that is mirrored is refused: a
		// later weft on another host may encrypt, and this one would not.
		if option.AsksEncryption(value) {
			return refused(option.Judgement{Key: key, Value: value, Why: option.NoEncryption})
		}
	default:
		if strings.HasPrefix(key, ownPrefix) {
			return fmt.Errorf("option %s is unknown: weft takes %s", key, strings.Join(slices.Sorted(slices.Values(known)), ", "))
		}
	}
	return nil
}

// refused is the sentence for an option whose promise weft does not keep.
func refused(j option.Judgement) error {
	return fmt.Errorf("option %s=%q is refused: %s", j.Key, j.Value, j.Why)
}

// checkPromises refuses an option that would promise what weft does not keep. An
// option with which the network is recorded in the cluster, as n, was let pass when
// it was created there, and is let pass here too.
func checkPromises(want, n overlay.Network) error {
	for _, j := range option.Those(want, option.Broken) {
		if value, promised := n.Options[j.Key]; !promised || value != j.Value {
			return refused(j)
		}
	}
	return nil
}

// stringMap turns decoded JSON into the map of strings that Docker sends.
func stringMap(v any) (map[string]string, error) {
	out := map[string]string{}
	if v == nil {
		return out, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("option %s is refused: it is no map", genericKey)
	}
	for key, value := range m {
		s, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("option %s is refused: its value is no text", key)
		}
		out[key] = s
	}
	return out, nil
}

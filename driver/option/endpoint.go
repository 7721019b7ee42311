package option

import (
	"slices"
	"strings"
)

// Keys of an endpoint's options that are judged (netlabel/labels.go of moby's
// daemon/libnetwork).
const (
	sysctls = "com.docker.network.endpoint.sysctls" // Docker itself sets them, since SysctlsSince
	ifname  = "com.docker.network.endpoint.ifname"
)

// SysctlsSince is the version of the API of Docker 27, the first that sets an
// interface's sysctls itself.
const SysctlsSince = "1.46"

// dockersOwn are the options of an endpoint that Docker adds by itself, as text. Other
// things that it adds, such as ports and DNS servers, are no text; what a person gives
// with driver-opt always is.
var dockersOwn = []string{
	"com.docker.network.endpoint.macaddress",          // of --mac-address, in base64
	"com.docker.network.driver.private.no_proxy_6to4", // since 28
	"com.docker.network.endpoint.exposedports",        // a list, or null
	"com.docker.network.portmap",                      // likewise
	"com.docker.network.endpoint.dnsservers",          // likewise
}

// Endpoint judges an option of an endpoint, as Docker sends it. sets says that this
// Docker sets sysctls itself.
func Endpoint(key string, value any, sets bool) Judgement {
	text, given := value.(string)
	out := Judgement{Key: key, Value: text, Verdict: Broken}
	switch {
	case !given || slices.Contains(dockersOwn, key):
		out.Verdict = Kept
	case key == sysctls && sets:
		out.Verdict = Kept
	case key == sysctls:
		out.Why = "Docker sets sysctls of an interface only since version 27; leave it out"
	case key == ifname:
		out.Why = "Docker does not let a plugin name a single interface; leave it out, or create the network with -o " + InterfacePrefix + "=NAME for interfaces NAME0, NAME1 and so on"
	case strings.HasPrefix(key, "com.docker."):
		out.Why = "weft does not keep what it promises; leave it out"
	default:
		out.Why = "weft's endpoints take no such option; leave it out"
	}
	return out
}

package consul

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/weft-net/weft/kvstore"
)

const (
	scheme        = "consul://"
	defaultPort   = "8500" // of Consul's HTTP API
	defaultPrefix = "weft"
	form          = "want consul://HOST:8500[,HOST:8500...][/PREFIX]"
)

// hostName is a DNS name or an IPv4 address; underscores do occur in names of
// containers.
var hostName = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9_])?$`)

// ParseURL takes consul://HOST:8500[,HOST:8500...][/PREFIX] apart into the
// servers' addresses as host:port, in order, and the prefix without slashes at
// its ends. A port left out is 8500, a prefix left out is "weft"; an IPv6
// address stands in brackets.
func ParseURL(s string) (addresses []string, prefix string, err error) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return nil, "", fmt.Errorf("store %q is no Consul: %s", s, form)
	}
	hosts, prefix, _ := strings.Cut(rest, "/")
	for host := range strings.SplitSeq(hosts, ",") {
		address, err := parseHost(host)
		if err != nil {
			return nil, "", fmt.Errorf("store %q: %w, %s", s, err, form)
		}
		addresses = append(addresses, address)
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		prefix = defaultPrefix
	}
	if kvstore.CheckKey(prefix) != nil || strings.ContainsAny(prefix, "?#%") {
		return nil, "", fmt.Errorf("store %q: %q cannot be a prefix, %s", s, prefix, form)
	}
	return addresses, prefix, nil
}

func parseHost(s string) (string, error) {
	host, port := s, defaultPort
	if literal, ok := strings.CutPrefix(s, "["); ok {
		name, rest, closed := strings.Cut(literal, "]")
		addr, err := netip.ParseAddr(name)
		if !closed || err != nil || !addr.Is6() {
			return "", fmt.Errorf("%q has no IPv6 address in brackets", s)
		}
		host = addr.String()
		if rest != "" {
			port, ok = strings.CutPrefix(rest, ":")
			if !ok {
				return "", fmt.Errorf("%q has more than a port after the bracket", s)
			}
		}
	} else {
		if name, number, ok := strings.Cut(s, ":"); ok {
			host, port = name, number
		}
		if !hostName.MatchString(host) {
			return "", fmt.Errorf("%q is no host", s)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%q has no port from 1 to 65535", s)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

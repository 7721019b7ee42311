package mirror

import "github.com/docker/docker/api"

// The versions of Docker's API that mirroring speaks, of which it uses the
// newest that the daemon speaks too: 1.24 is Docker 1.12.
const (
	MinAPI = api.MinSupportedAPIVersion
	MaxAPI = api.DefaultVersion
)

// ipv6AloneSince is the first version that has networks without IPv4, that of
// Docker 28.
const ipv6AloneSince = "1.48"

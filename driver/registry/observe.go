package registry

import (
	"time"

	"github.com/weft-net/weft/driver/registry/record"
)

// Observer hears how this host and the store keep up with each other. Its
// functions may be nil, and must not block.
type Observer struct {
	// Applied hears of each answer of a watch ("hosts" or "networks") that has
	// been taken over, or could not be, and how long that took.
	Applied func(watch string, took time.Duration, err error)
	// Returned hears how long after this host began to write its own record its
	// own watch showed it: what other hosts see of it takes as long.
	Returned func(lag time.Duration)
}

func (o Observer) filled() Observer {
	if o.Applied == nil {
		o.Applied = func(string, time.Duration, error) {}
	}
	if o.Returned == nil {
		o.Returned = func(time.Duration) {}
	}
	return o
}

// watchName is how a followed prefix is called.
func watchName(prefix string) string {
	if prefix == record.HostPrefix {
		return "hosts"
	}
	return "networks"
}

package control

import "time"

// Summary gives what GET /v1/status and GET /v1/networks answer when they are
// asked at now, for those who are in the process.
func Summary(s State, now time.Time) (Status, []Network) {
	x := newIndex(s)
	return x.status(now), x.networks()
}

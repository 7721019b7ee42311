package arrival

import "time"

// most is how long an endpoint is waited for. Docker takes some tenths of a second, but
// 22 s were seen on an overloaded machine. Until then nobody reaches the container anyway;
// and where the kernel cannot tell, nobody waits.
const most = 30 * time.Second

// list are the endpoints that are on their way, by id.
type list map[string]*coming

// coming is one of them.
type coming struct {
	network, endpoint string
	until             time.Time
	stop              func() // ends the wait for it; nil: nobody waits yet
}

// expect adds an endpoint, in the place of itself.
func (l list) expect(network, endpoint string, now time.Time) {
	l.forget(endpoint)
	l[endpoint] = &coming{network: network, endpoint: endpoint, until: now.Add(most)}
}

// forget takes an endpoint out.
func (l list) forget(endpoint string) {
	if c := l[endpoint]; c != nil && c.stop != nil {
		c.stop()
	}
	delete(l, endpoint)
}

// has says whether the endpoint is still on its way.
func (l list) has(endpoint string, now time.Time) bool {
	c := l[endpoint]
	return c != nil && now.Before(c.until)
}

// end takes c out, and says whether it was still in.
func (l list) end(c *coming) bool {
	if l[c.endpoint] != c {
		return false
	}
	l.forget(c.endpoint)
	return true
}

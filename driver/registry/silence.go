package registry

import (
	"context"
	"time"

	"github.com/weft-net/weft/driver/registry/peers"
)

// silence notices hosts that fall silent.
type silence struct {
	*core
	peers *peers.Peers
}

// run notices hosts that fall silent, until ctx ends.
func (s silence) run(ctx context.Context) error {
	ticker := time.NewTicker(peers.SilenceTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.count()
		}
	}
}

func (s silence) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	news, changed := s.peers.CountSilence(time.Now())
	s.tellLocked(news, changed)
}

// tellLocked logs what is new of other hosts, and wakes whoever goes by it.
func (s silence) tellLocked(news []peers.News, changed bool) {
	for _, n := range news {
		s.log.WithField("host", n.Host).Info(n.Text)
	}
	if changed {
		s.any.send()
	}
}

// A host's number of requests to probe paths is odd while it wants an answer, and even
// after.

// Probe asks all hosts to probe the paths between them, until Probed or for 20 s
// at most, and gives the number of this request.
func (r *Registry) Probe() uint64 {
	r.mu.Lock()
	r.self.Probe = (max(r.self.Probe, r.documents.Runs()<<32) + 1) | 1
	asked := r.self.Probe
	r.peers.Ask(asked)
	r.mu.Unlock()
	r.changedLocally()
	return asked
}

// Probed says that the request is answered.
func (r *Registry) Probed(asked uint64) {
	r.mu.Lock()
	ended := r.self.Probe == asked
	if ended {
		r.self.Probe++
		r.peers.Answered()
	}
	r.mu.Unlock()
	if ended {
		r.changedLocally()
	}
}

// Probing says whether the hosts probe the paths between them.
func (r *Registry) Probing() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.peers.Probes()) > 0
}

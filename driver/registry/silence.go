package registry

import (
	"context"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
)

// watchSilence notices hosts that fall silent, until ctx ends.
func (r *Registry) watchSilence(ctx context.Context) error {
	ticker := time.NewTicker(peers.SilenceTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.countSilence()
		}
	}
}

func (r *Registry) countSilence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	news, changed := r.peers.CountSilence(time.Now())
	r.tellLocked(news, changed)
}

// tellLocked logs what is new of other hosts, and wakes whoever goes by it.
func (r *Registry) tellLocked(news []peers.News, changed bool) {
	for _, n := range news {
		r.log.WithField("host", n.Host).Info(n.Text)
	}
	if changed {
		r.any.send()
	}
}

// Quiet are the hosts whose machines are to be asked whether weft runs there,
// sorted by name.
func (r *Registry) Quiet() []overlay.Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.peers.Quiet()
}

// Vacant says that the host's machine answers, and that no weft runs on it.
func (r *Registry) Vacant(host overlay.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peers.Vacant(host)
}

// A host's number of requests to probe paths is odd while it wants an answer, and even
// after.

// Probe asks all hosts to probe the paths between them, until Probed or for 20 s
// at most, and gives the number of this request.
func (r *Registry) Probe() uint64 {
	r.mu.Lock()
	r.self.Probe = (max(r.self.Probe, r.Runs()<<32) + 1) | 1
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

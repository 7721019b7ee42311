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
	return every(ctx, peers.SilenceTick, s.count)
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

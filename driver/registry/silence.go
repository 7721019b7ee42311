package registry

import (
	"context"
	"maps"
	"time"
)

// A host that was heard is silent after silentTicks x silenceTick, 4 s, without
// a word: as long as four heartbeats in a row. Time is counted in ticks of this
// process, so one that was suspended does not take the others for silent.
const (
	silenceTick = 250 * time.Millisecond
	silentTicks = 16
)

// watchSilence notices hosts that fall silent, until ctx ends.
func (r *Registry) watchSilence(ctx context.Context) error {
	ticker := time.NewTicker(silenceTick)
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
	if r.countProbesLocked() {
		r.any.send()
	}
	for host, l := range r.links {
		was := r.namelessLocked(host)
		r.countVacantLocked(host)
		if l.heard.IsZero() {
			continue
		}
		l.quiet++
		switch now := r.namelessLocked(host); {
		case now && !was:
			r.log.WithField("host", host).Info("A host has fallen silent: its names are withdrawn until it is heard again, its packets go on.")
			r.any.send()
		case !now && l.quiet == silentTicks && r.silentLocked(host):
			r.log.WithField("host", host).Info("A host's weft does not run and its machine answers: its names stay, its packets go on.")
		}
	}
}

// silentLocked says whether the host was heard and is not any more, or has said
// that its machine shuts down or its weft ends.
func (r *Registry) silentLocked(host string) bool {
	if r.awayLocked(host) || r.hosts[host].rests {
		return true
	}
	l, p := r.links[host], r.hosts[host]
	return l != nil && l.incarnation == p.Incarnation && !l.heard.IsZero() && l.quiet >= silentTicks &&
		p.Push.IsValid() && r.self.Push.IsValid()
}

// heardLocked says whether the host was heard lately.
func (r *Registry) heardLocked(host string) bool {
	l := r.links[host]
	return l != nil && l.incarnation == r.hosts[host].Incarnation && !l.heard.IsZero() && !r.silentLocked(host)
}

// silencesLocked are the hosts whose names are withdrawn; nil if there is none.
func (r *Registry) silencesLocked() map[string]bool {
	out := map[string]bool{}
	for host := range r.hosts {
		out[host] = r.namelessLocked(host)
	}
	maps.DeleteFunc(out, func(_ string, nameless bool) bool { return !nameless })
	if len(out) == 0 {
		return nil
	}
	return out
}

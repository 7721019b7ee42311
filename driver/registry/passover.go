package registry

import "github.com/weft-net/weft/driver/skipped"

// passOver notes what a reading passes over, and says it once.
func (r *Registry) passOver(scope string, passed ...skipped.Record) {
	news := r.skipped.Saw(scope, passed...)
	if len(news) > 0 {
		r.log.WithField("first", news[0].Text()).
			Warnf("Records of the store cannot be used and are passed over, everything else goes on: %s; `weft doctor` says what to do.", skipped.Names(news))
	}
}

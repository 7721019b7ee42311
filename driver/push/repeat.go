package push

import "time"

// repeater comes due after each of its delays, from the last start on.
type repeater struct {
	delays []time.Duration
	left   []time.Duration
	timer  *time.Timer
}

func newRepeater(delays []time.Duration) *repeater {
	t := time.NewTimer(0)
	t.Stop()
	return &repeater{delays: delays, timer: t}
}

func (r *repeater) due() <-chan time.Time { return r.timer.C }

// start begins anew.
func (r *repeater) start() {
	r.left = r.delays
	r.next()
}

// next waits for the next delay, if one is left.
func (r *repeater) next() {
	if len(r.left) == 0 {
		return
	}
	r.timer.Reset(r.left[0])
	r.left = r.left[1:]
}

func (r *repeater) stop() { r.timer.Stop() }

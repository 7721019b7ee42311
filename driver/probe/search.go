package probe

// probesAtOnce is how many sizes a step tries. So three steps find one of 1450 sizes,
// and four find one of 9000.
const probesAtOnce = 16

// stepRounds are the rounds of a step: in the first two the sizes are sent, in
// the others the receiver's beacons have time to say what has come.
const stepRounds = 4

// smallest is where the search begins, in bytes: no network has a lower MTU.
const smallest = 512

// finder looks for the largest size that comes through.
type finder struct {
	low, high int // the largest that is known to come, the smallest that is known not to
	sizes     []int
	round     int // of the step
}

// next gives the sizes to send in this round. full is known not to come, and
// reported is the largest size that has come, as the receiver says.
func (f *finder) next(full, reported int) []int {
	if f.high == 0 || f.high > full {
		*f = finder{low: smallest, high: full}
	}
	f.low = max(f.low, min(reported, f.high-1))
	if f.round == 0 {
		f.aim()
	}
	f.round++
	if f.round <= 2 {
		return f.sizes
	}
	if f.round == stepRounds {
		f.round = 0
	}
	return nil
}

// done says whether the search is over.
func (f *finder) done() bool { return f != nil && f.high > 0 && f.high-f.low <= 1 }

// aim chooses the sizes of the next step: evenly between the largest size that comes
// and the smallest that does not.
func (f *finder) aim() {
	for _, size := range f.sizes {
		if size > f.low {
			f.high = min(f.high, size)
		}
	}
	f.sizes = nil
	for i := range probesAtOnce {
		size := f.low + (i+1)*(f.high-f.low)/(probesAtOnce+1)
		if size > f.low && size < f.high && (len(f.sizes) == 0 || size > f.sizes[len(f.sizes)-1]) {
			f.sizes = append(f.sizes, size)
		}
	}
	if len(f.sizes) == 0 && f.high-f.low > 1 { // fewer sizes are left than are tried at once
		f.sizes = append(f.sizes, f.low+1)
	}
}

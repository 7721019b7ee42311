package kvstore

import "iter"

// Batches cuts ops, in their order, into transactions that CheckOps takes. One
// that is too large by itself is a batch of its own.
func Batches(ops []Op) iter.Seq[[]Op] {
	return func(yield func([]Op) bool) {
		for len(ops) > 0 {
			n, bytes := 0, 0
			for n < min(len(ops), MaxOps) {
				bytes += len(ops[n].Key) + len(ops[n].Value)
				if n > 0 && bytes > MaxBytes {
					break
				}
				n++
			}
			if !yield(ops[:n:n]) {
				return
			}
			ops = ops[n:]
		}
	}
}

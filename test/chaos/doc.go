// Package chaos is the fault suite: it plays random operations and faults on a
// lab of three hosts, heals everything every two minutes, and checks what must
// hold then.
//
//	make chaos SEED=7 MINUTES=10
//
// The seed decides the operations, their order and their pauses, and nothing
// that happens in the lab has a say in it; what the lab makes of them differs
// from run to run. A failed run prints its seed and its history.
//
// Refusals are judged by what was wrong at that moment on that host: a command
// may fail while the daemon it needs is away, and for want of the store only
// where the sentence says so. Everything else is a failure of the run.
package chaos

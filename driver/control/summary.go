package control

import "time"

// Summary gives what GET /v1/status and GET /v1/networks answer when they are
// asked at now, for those who are in the process.
func Summary(s State, now time.Time) (Status, []Network) {
	x := newIndex(s)
	return x.status(now), x.networks()
}

// Mismatches says which hosts cannot exchange packets with this one because of
// their settings, a sentence each that ends with what to do.
func Mismatches(s State) []Finding { return newIndex(s).mismatches() }

// Duplicates says which addresses are used twice in a network, a sentence each
// that ends with what to do.
func Duplicates(s State) []Finding { return newIndex(s).duplicates() }

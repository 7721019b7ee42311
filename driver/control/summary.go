package control

import "time"

// Summary gives what GET /v1/status and GET /v1/networks answer when they are
// asked at now, for callers in the process.
func Summary(s State, now time.Time) (Status, []Network) {
	x := newIndex(s)
	return x.status(now), x.networks()
}

// Mismatches finds the hosts that cannot exchange packets with this one because of
// their settings.
func Mismatches(s State) []Finding { return newIndex(s).mismatches() }

// Duplicates finds the addresses that are used twice in a network.
func Duplicates(s State) []Finding { return newIndex(s).duplicates() }

// Crowded finds the networks of which this host has more containers than their bridges
// have ports.
func Crowded(s State) []Finding { return newIndex(s).crowded() }

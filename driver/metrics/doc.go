// Package metrics shows Prometheus how this host's weft is doing. What the
// daemon knows anyway is read at each scrape; only what happens in between is
// counted, by functions that the other parts call.
//
// A label's values are few and known, save those of networks: a network has
// its id, its name and its subnets as labels, and nothing has a container's, an
// endpoint's or a host's name.
//
// All metrics are in docs/metrics.md, which a test keeps true.
package metrics

// Package metrics shows Prometheus how this host's weft is doing. What the
// daemon knows anyway is read at each scrape. Only what happens between scrapes is
// counted, by functions that the other parts call.
//
// Labels have few values, known from the start, except those of networks: their id,
// name and subnets. No label has the name of a container, an endpoint or a host.
//
// docs/metrics.md lists all metrics, and a test compares it with the code.
package metrics

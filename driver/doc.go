// Package driver is Docker's NetworkDriver: it decodes and validates Docker's
// calls, records them in the registry, waits for the pass that makes the
// kernel follow, and answers. It keeps nothing of its own, never calls Docker,
// and needs no store for what this host already has.
package driver

// Package direct decides whether packets of a network go to another host without a
// tunnel, from what becomes of probes. It is pure.
package direct

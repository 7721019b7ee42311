// Package networks is what one host knows of the cluster's networks: their records, with
// the tombstones of those that are gone, which of them this host's Docker has, and what
// was asked here and is not settled with the store yet. It is a value: it has no lock, no
// store and no clock, and says what is to become durable instead of writing it.
package networks

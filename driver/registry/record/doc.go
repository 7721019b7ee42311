// Package record says how weft's records look, in the cluster's store and in a host's
// state: their keys, their values, and what is wrong with a record that this weft
// cannot use. It decides from bytes alone; it asks no store and no clock.
package record

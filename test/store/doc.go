// Package store tests weft through every fault of its Consul: three hosts, three
// servers, and access control, in a lab.
package store

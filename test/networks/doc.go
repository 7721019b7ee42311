// Package networks makes and removes many networks on a lab whose cluster has
// removed thousands before: none comes back. `make hosts` makes a few of them, and
// `make networks N=500` as many as wanted.
package networks

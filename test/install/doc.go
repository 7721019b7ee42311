// Package install tests the ways in which weft comes to a host: the Debian
// package under a real systemd, the managed plugin and the container under real
// dockerds, each on hosts of a lab that have no weft yet, and Compose on top.
// It has nothing but tests.
package install

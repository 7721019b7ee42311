// Package pulse keeps packets, a stream and lookups of names going between two
// containers, and tells what of them was lost. All sockets belong to this
// process, so that nothing of Docker's has to live for them, and are opened in
// the containers' network namespaces.
package pulse

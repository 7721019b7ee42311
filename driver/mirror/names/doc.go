// Package names gives endpoints the names of their containers, and forgets
// endpoints that Docker has ended while weft was away.
//
// Docker tells a driver no names: they come from its API. It answers about a
// container only when it is done with starting it, which may take seconds. So the
// names are read when the container is created, and used when it starts.
package names

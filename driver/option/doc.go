// Package option says of each option that Docker's own network drivers take with -o
// whether weft keeps what the option promises.
//
// It is a table and nothing else. If an option would change isolation, reachability
// or addresses, and weft does not keep it, it is refused when a person creates a
// network. On a network that exists already it is shown and stops nothing.
package option

// Package option says what each option that Docker's own network drivers take
// with -o means on a network of weft's: whether weft keeps what it promises.
//
// It is a table and nothing else. An option that would change isolation,
// reachability or addresses, and that weft does not keep, is refused when a person
// creates a network. On a network that exists it stops nothing, and is shown.
package option

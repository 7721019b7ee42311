// Package whole tells whether a lab's cluster is whole: whether Docker, weft and
// the kernel on every host, and the store, agree about what there is. It only
// looks, and asks each of them itself, so that none is believed about another.
package whole

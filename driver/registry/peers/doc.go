// Package peers has what the other hosts say, by the store and directly, and whether
// they live. Peers is a value: who has it guards it, tells it the time and what it sees,
// and does what follows.
//
// # What comes from other hosts directly
//
// A document that a host pushes is the same that it publishes. It replaces what is here
// if its number is higher, so loss, repetition and order do not matter, nor does the way
// it came. Of each host is known up to which number everything has come: a document with
// a number up to there that turns up again, from a store that lags, is old. Which hosts
// there are, and in which incarnation, only the store says.
package peers

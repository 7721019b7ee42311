// Package docs runs the commands in the documents: each in a fenced block, in the
// order in which they stand, on a lab whose hosts have the documents' addresses.
// It has nothing but tests.
//
// A block of the language console has a prompt before each command, h1# or h1$
// for the host h1 and all# for each of the hosts, "> " before a command's further
// lines, and below it what it prints, where … stands for anything. A block of
// the language sh has commands for a checkout. What cannot be run is in the list
// of exceptions, with the reason and with what is done instead.
package docs

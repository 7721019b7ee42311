// Package traffic measures one way between two network namespaces of this
// machine: throughput, packets, answers and connections per second.
//
// Both ends are threads of one process, each in its namespace, so that the ways
// that are compared differ in nothing but the network between them. The threads
// use plain blocking system calls: Go's poller would cost more than some of
// what is measured. Such a call holds its thread and its processor of Go's
// scheduler, so the process needs GOMAXPROCS above twice the number of streams,
// GOGC=off and GODEBUG=asyncpreemptoff=1, and does one measurement in its life;
// see Environ.
package traffic

// Command faults plays faults on labs of Docker hosts, measures what containers
// notice of each, and writes the tables of docs/faults.md, which also say how
// it is measured.
package main

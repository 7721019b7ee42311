// Command bench measures weft on two lab hosts, side by side with Docker's own
// networks on the same hosts, and prints a table: what there is, what the goal
// is, and whether it was met. docs/benchmarks.md tells how each figure is made.
package main

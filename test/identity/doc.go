// Package identity tests, in a lab of its own, which host a machine is: each row of
// the table "Which host a machine is" in docs/operations.md.
package identity

// Package doctor finds out what keeps a host from working well: each Check looks at
// one thing, and each Finding names the cause and the cure.
//
// The running daemon makes the checks, since it has the credentials, the mounts
// and the counts. Without a daemon the command makes the checks that need none. A
// check that cannot be made says so and finds nothing.
//
// A finding that follows from another check's finding is shown with it and does not
// count (Check.After), so that one fault has one name and one exit code.
//
// Checks only look. If one has to write something to try it, it removes it again.
package doctor

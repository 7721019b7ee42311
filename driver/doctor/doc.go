// Package doctor finds out what keeps a host of weft's from working well: each
// Check looks at one thing, and each Finding names the cause and the cure.
//
// The running daemon makes the checks, for it has the credentials, the mounts
// and the counts; without a daemon the command makes those that need none. A
// check that cannot be made says so and finds nothing.
//
// What follows from another check's finding is shown with it and does not
// count (Check.After), so that one fault has one name and one exit code.
//
// Checks only look. What they write for a trial they take away again.
package doctor

// Package engine is the API of this host's Docker Engine, as mirroring uses it:
// typed calls, each bounded in time. No other package of mirroring knows Docker's
// types.
package engine

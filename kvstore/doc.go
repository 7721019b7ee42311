// Package kvstore is the contract between weft and whatever keeps its records:
// revisions per key, all-or-nothing transactions, a blocking read for changes
// and a key held under a lease. Sub-packages implement it; kvtest is the suite
// that each of them passes. It imports nothing of weft's.
package kvstore

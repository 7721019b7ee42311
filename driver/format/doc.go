// Package format reads records, of the cluster's store and of this host's state, as
// strictly as something needs that anybody may have written.
//
// # Which version of weft may use a record
//
// Versions of weft run side by side while a cluster is updated. So a record says
// itself which of them may use it, by the number of a format:
//
//	"v"  the lowest format that may read the record; absent: 1
//	"w"  the lowest format that may write it; absent: the same as may read it
//
// Current is the format of this weft. It grows when a record changes so that the weft
// before would misread it, or harm it by writing it back; a new member that others
// may leave alone needs no new format, since records that several hosts write keep
// the members that a version does not know (overlay.Rest).
//
// A record that only a later weft may read is passed over like one that cannot be
// read. What changes a record that only a later weft may write is refused in one
// sentence. The record meta speaks for all of the cluster, see Guard, and any record
// of a host's state for all of the state.
package format

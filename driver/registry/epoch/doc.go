// Package epoch decides whether the store still has its data, and what may be claimed.
// State is a value: who has it guards it, tells it the time and what it sees, and does
// what follows.
//
// # What follows when the store has lost data
//
// A store may be wiped, restored from an old snapshot, or moved without all of its data.
// Then claims are missing that their owners go by, and to claim what seems to be nobody's
// could give an address out twice. So the store's life between two losses has a record,
// its epoch, at net/.epoch.
//
// Whoever notices a loss begins the next epoch by compare-and-set. A transaction that
// claims something holds only in the epoch that its host goes by, so one host's notice
// stops the others in the same moment. In a new epoch each host first records again what
// it has, by create only, and says in its own record that it has. It claims something new
// once every host that it knows of has said so, or after SettleTime. What it has in stock
// it hands out all the time.
//
// A loss shows by the epoch's record, which is missing or older than the one that this
// host goes by; or by any record that nobody ever deletes, which is missing or has a lower
// revision than before.
//
// # When the store and the hosts' states are lost at once
//
// Then only Docker and the kernels know what there is, and no host knows another by name.
// But where a container runs, the kernel has its network's id and VNI, and the VTEPs of
// the other hosts with addresses in it. So a host that finds its kernel full and its state
// empty begins an epoch that names those VTEPs, if the store's epoch does not await them
// already: no host claims anything new before each of them has recorded again what it has.
// Nor is anything taken out of a kernel until then, since what the kernel knows of the
// others is not in any record yet, and containers talk by it.
//
// Networks are made again by whoever has them in its kernel, under their old ids, by
// create only: so all of these hosts make one record, whoever is first. Networks that no
// kernel has come after them, see Registry.Remake.
package epoch

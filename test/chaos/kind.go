package chaos

import "time"

// kind is what an operation does.
type kind string

// The kinds of operations.
const (
	createNetwork  kind = "create network"
	removeNetwork  kind = "remove network"
	runBox         kind = "run"
	stopBox        kind = "stop"
	startBox       kind = "start"
	restartBox     kind = "restart"
	killBox        kind = "kill"
	removeBox      kind = "rm"
	connectBox     kind = "connect"
	disconnectBox  kind = "disconnect"
	killWeft       kind = "kill weft"
	freezeWeft     kind = "freeze weft"
	restartWeft    kind = "restart weft"
	killDockerd    kind = "kill dockerd"
	restartDockerd kind = "restart dockerd"
	freezeDockerd  kind = "freeze dockerd"
	crashHost      kind = "kill weft and dockerd"
	killConsul     kind = "kill consul"
	freezeConsul   kind = "freeze consul"
	restartConsul  kind = "restart consul"
	wipeConsul     kind = "wipe consul"
	rewindConsul   kind = "restore an old snapshot of" // of the fault's beginning, at its end
	cutStore       kind = "cut from consul"
	cutHosts       kind = "cut from host"
	cutLeader      kind = "cut from the other servers" // Consul's leader
	renameHost     kind = "rename the machine"
	setBack        kind = "set back the disk"   // weft's part of it
	cloneHost      kind = "start a clone"       // with a machine-id of its own
	twinHost       kind = "start a clone as is" // with the host's machine-id
	spoilStore     kind = "spoil records of"
	forgeMessages  kind = "forge messages to"
)

// weights say how often a kind is drawn when it can be.
var weights = []struct {
	kind    kind
	weight  int
	longest time.Duration // of a fault
}{
	{createNetwork, 8, 0},
	{removeNetwork, 3, 0},
	{runBox, 50, 0},
	{removeBox, 8, 0},
	{stopBox, 5, 0},
	{startBox, 12, 0},
	{restartBox, 4, 0},
	{killBox, 3, 0},
	{connectBox, 10, 0},
	{disconnectBox, 5, 0},
	{killWeft, 6, 4 * time.Second},
	{freezeWeft, 3, 6 * time.Second},
	{restartWeft, 3, 2 * time.Second},
	{killDockerd, 1, 2 * time.Second},
	{restartDockerd, 1, time.Second},
	{freezeDockerd, 1, 5 * time.Second},
	{crashHost, 1, 4 * time.Second},
	{killConsul, 2, 8 * time.Second},
	{freezeConsul, 2, 8 * time.Second},
	{restartConsul, 1, time.Second},
	{wipeConsul, 1, 3 * time.Second},
	{rewindConsul, 1, 20 * time.Second},
	{cutStore, 4, 12 * time.Second},
	{cutHosts, 4, 10 * time.Second},
	{cutLeader, 3, 10 * time.Second}, // of three servers only
	{renameHost, 2, 2 * time.Second},
	{setBack, 40, 3 * time.Second}, // mostly in vain, as the store has a fault
	{cloneHost, 2, time.Second},
	{twinHost, 10, time.Second}, // likewise
	{spoilStore, 4, 8 * time.Second},
	{forgeMessages, 6, time.Second},
}

package record

// Keys in this host's state.
const (
	StateSelf     = "self"         // the host as it was when its process began
	StateBond     = "bond"         // to the machine
	StateMeta     = "meta"         // Meta
	StateSign     = "sign"         // seed of the key by which this host signs
	StateDocker   = "docker/"      // Docker's network id → which network that is
	StateEndpoint = "endpoint/"    // endpoint id → overlay.Endpoint
	StateRebuild  = "rebuild"      // there while the rest may not be all
	StateMaking   = "making/"      // network id → overlay.Network that is being made here
	StateRemove   = "remove/"      // network id: to be removed everywhere if unused
	StateNetwork  = "replica/net/" // network id → overlay.Network
	StateHost     = "replica/host/"
	StateYield    = "yield"       // there while Claims.Yields is true
	StateEpoch    = "epoch"       // the epoch that this host goes by
	StateSeen     = "seen"        // revisions of lasting records
	StateSequence = "sequence"    // numbers of this host's attachments
	StateRan      = "ran"         // for how long weft has run on this state
	StateGrave    = "grave/"      // network id → when its tombstone was first seen
	StateAttach   = "replica/at/" // host/network → overlay.Attachment
)

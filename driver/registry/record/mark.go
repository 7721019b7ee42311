package record

import (
	"encoding/json"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// DeadMark is what host/X/dead says.
type DeadMark struct {
	By string    `json:"by"` // the host that made it
	At time.Time `json:"at"`
}

// HeardMark is what host/.heard/X says.
type HeardMark struct {
	By  string `json:"by"`  // the host that holds it, or did
	Run string `json:"run"` // a word of that host's process
}

// Veto is host/.heard/X as the store has it: as long as it is held, nobody reaps X.
type Veto struct {
	Revision uint64
	Held     bool
	By       string
}

func readVeto(p kvstore.Pair) Veto {
	var mark HeardMark
	_ = json.Unmarshal(p.Value, &mark) // the name matters only to people and to its holder
	return Veto{Revision: p.Revision, Held: p.Held, By: mark.By}
}

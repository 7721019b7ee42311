package dataplane

import (
	"github.com/weft-net/weft/driver/dataplane/fastpath"
)

// Cause is the kind of reason why packets do not take the fast path.
type Cause string

// The causes. Only after the last two somebody may want to do something.
const (
	CauseOff    Cause = "off"    // a person has said so
	CauseIdle   Cause = "idle"   // there is nothing to carry, or no pass has been made
	CauseKernel Cause = "kernel" // the kernel does not take the programs
	CauseHost   Cause = "host"   // the host is one without: by its underlay or its IPsec policies
	CauseOthers Cause = "others" // somebody else's filters are where it would be
	CauseFault  Cause = "fault"  // it ought to be there, and something failed
)

// Hindrance is what keeps packets from the fast path; zero: nothing does.
type Hindrance struct {
	Cause Cause
	Text  string // in a few words
}

func (h Hindrance) hinders() bool { return h.Cause != "" }

// FastState is what there is of the fast path.
type FastState struct {
	Why  Hindrance            // the host has none because of it
	Slow map[string]Hindrance // networks do without because of it, by id
	fastpath.Counts
}

// FastState tells it, as of the last pass, whether one is under way or not.
func (d *Dataplane) FastState() (FastState, error) {
	told := d.fast.told.Load()
	switch {
	case told == nil:
		return FastState{Why: Hindrance{CauseIdle, "no pass has been made yet"}}, nil
	case told.plane == nil:
		return told.FastState, nil
	}
	s := told.FastState
	var err error
	s.Counts, err = told.plane.Counts()
	return s, err
}

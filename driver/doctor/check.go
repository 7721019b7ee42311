package doctor

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/driver/control"
)

// Finding is one thing that is wrong.
type Finding = control.Finding

// Check looks at one thing.
type Check struct {
	Name string
	// Code is the exit code of `weft doctor` if no other check has a finding.
	// It is 10 or more, and never given to another check.
	Code int
	// About says what is looked at, in a few words.
	About string
	// After are the checks whose findings explain this one's. Explained findings are
	// shown and do not count.
	After []string
	// Run looks. A Finding's Check is filled in for it. An error says why the
	// check could not be made; it is no finding.
	Run func(ctx context.Context, h *Host) ([]Finding, error)
}

// ofState makes the Run of a check that only looks at what the daemon tells.
func ofState(find func(control.State) []Finding) func(context.Context, *Host) ([]Finding, error) {
	return func(_ context.Context, h *Host) ([]Finding, error) {
		s, err := h.state()
		if err != nil {
			return nil, err
		}
		return find(s), nil
	}
}

// SeveralCode is the exit code of `weft doctor` if several checks have findings.
const SeveralCode = 3

// All are the checks, in the order in which they are shown: the cause before
// what follows from it.
var All = []Check{
	daemonCheck,
	kernelCheck,
	sysctlCheck,
	portCheck,
	firewallCheck,
	underlayCheck,
	pushCheck,
	storeCheck,
	storeACLCheck,
	storeWriteCheck,
	recordsCheck,
	clockCheck,
	dockerCheck,
	networksCheck,
	versionsCheck,
	routesCheck,
	leftoversCheck,
	diskCheck,
	addressesCheck,
	peersCheck,
	promisesCheck,
	fixedMTUCheck,
	passesCheck,
	fastPathCheck,
	tunnelCheck,
	mtuCheck,
	checksumCheck,
}

// NotMade is why a check could not be made.
type NotMade string

// Error implements error.
func (e NotMade) Error() string { return string(e) }

// find returns the checks of those names, in the order of All; no names are all
// of them.
func find(all []Check, only []string) ([]Check, error) {
	if len(only) == 0 {
		return all, nil
	}
	wanted := map[string]bool{}
	for _, name := range only {
		wanted[name] = true
	}
	var out []Check
	for _, c := range all {
		if wanted[c.Name] {
			out = append(out, c)
			delete(wanted, c.Name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("there is no check %q: `weft doctor --list` lists them", name)
	}
	return out, nil
}

// Known says which of the names is no check, in one sentence.
func Known(only []string) error {
	_, err := find(All, only)
	return err
}

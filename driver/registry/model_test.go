package registry_test

import (
	"fmt"
	"testing"
)

// This file checks the protocol of reap.go as a model: every interleaving of
// the steps that two hosts and two reapers can take with one address, each step
// one transaction of the store or one decision in memory, with crashes between
// any two. h1 has the address in use at the beginning. No state may be
// reachable in which both hosts use it while peers accept h1's packets.
//
// A host takes an address in use back from one that claimed it later, since the
// store may have lost the older claim, see ipam. It looks at any time, and so
// perhaps before it knows that it was declared dead. To look and to take back are two
// steps: the store may carry out late what was decided, even after its process.
//
// A third host may hear h1 directly, and goes on accepting its packets then, lease or
// none; the reapers never hear it. What the model knows of time is this alone: who has
// heard h1 all the time that a reaper waits has told the store so meanwhile.

// world is one state of the model: comparable, so that visited ones are known.
type world struct {
	// The store.
	owner    int  // of the address: 0, 1 or 2
	revision int  // of the address's key
	marked   bool // host/h1/dead exists
	mark     int  // its revision, counted up with each mark
	held     bool // host/h1/live
	lease    int  // its revision
	back     int  // revision of host/h1/back
	gone     bool // h1 was declared dead, and has had no lease since
	veto     bool // host/.heard/h1 is held by the host that hears h1
	vetoes   int  // its revision
	heard    bool // that host hears h1, and believes it

	h1      victim
	h2      claimant
	reapers [2]reaper
	faults  int // partitions and crashes so far
}

// victim is the host that is declared dead.
type victim struct {
	cut      bool // reaches nobody
	using    bool // a container has the address
	believes bool // its state says the address is its own
	yields   bool // was declared dead and has not compared its claims since; durable
	rejoined bool // has looked for a mark since its lease was lost
	verified bool // has compared its claims since
	takes    int  // a write under way that takes the address back: one more than the revision of its key; 0: none
	tenure   int  // world.back when that was decided
}

// claimant is another host, which wants the address.
type claimant struct{ using bool }

// reaper frees what h1 had.
type reaper struct {
	step   int  // 0 idle, 1 waits, 2 has seen the lease free for the reap time, 3 marked, 4 listed
	lease  int  // revision seen
	vetoes int  // the same of host/.heard/h1
	along  bool // somebody has heard h1 ever since the wait began
	mark   int
	listed int // revision of the address's key as listed
}

// duplicate is the state that must not be: peers accept h1's packets as long
// as its lease is held, and one that hears it even without.
func (w world) duplicate() bool { return w.h1.using && w.h2.using && (w.held || w.heard) }

// rules says which parts of the protocol are in force.
type rules struct {
	fenceDeletes bool // a reaper deletes only while its mark stands
	fenceClaims  bool // h1 claims only while there is no mark
	fenceLease   bool // h1 takes its lease only while there is no mark
	verify       bool // h1 compares before it takes its lease
	yield        bool // h1 decides to take nothing back once it knows that it was declared dead
	tenure       bool // and what it decided before holds only until it has taken the mark off
	veto         bool // who hears h1 tells the store, and a reaper looks for that
	fenceVeto    bool // and marks only if nobody has told it since
}

func all() rules {
	return rules{fenceDeletes: true, fenceClaims: true, fenceLease: true, verify: true, yield: true, tenure: true, veto: true, fenceVeto: true}
}

const (
	maxFaults = 4
	maxMarks  = 3
)

// next gives every state that one step leads to, by the step's name.
func (w world) next(r rules) map[string]world {
	out := map[string]world{}
	step := func(name string, change func(*world)) {
		n := w
		change(&n)
		if a, b := n.reapers[0], n.reapers[1]; b.step < a.step || b.step == a.step && b.mark < a.mark {
			n.reapers = [2]reaper{b, a} // which of them is which makes no other state
		}
		if n != w {
			out[name] = n
		}
	}
	if w.faults < maxFaults {
		step("h1 is cut off or heals", func(n *world) { n.h1.cut = !n.h1.cut; n.faults++ })
		step("h1's weft crashes", func(n *world) { n.h1.rejoined, n.h1.verified = false, false; n.faults++ })
	}
	if w.held && w.h1.cut {
		step("h1's lease expires", func(n *world) {
			n.held = false
			n.lease++
			n.h1.rejoined, n.h1.verified = false, false
		})
	}
	if !w.h1.cut {
		w.stepsOfVictim(r, step)
	}
	w.stepsOfHearer(r, step)
	if w.h1.takes > 0 {
		step("the store takes the address back for h1", func(n *world) {
			if w.revision == w.h1.takes-1 && (!w.marked || !r.fenceClaims) && (w.back == w.h1.tenure || !r.tenure) {
				n.owner, n.revision = 1, n.revision+1
			}
			n.h1.takes, n.h1.tenure = 0, 0
		})
	}
	if w.owner == 0 {
		step("h2 claims the address", func(n *world) { n.owner = 2; n.revision++ })
	}
	if w.owner == 2 {
		step("h2 uses the address", func(n *world) { n.h2.using = true })
	} else {
		step("h2 sees that the address is not its own", func(n *world) { n.h2.using = false })
	}
	for i := range w.reapers {
		w.stepsOfReaper(r, i, step)
	}
	return out
}

func (w world) stepsOfHearer(r rules, step func(string, func(*world))) {
	if w.heard {
		step("h1 is heard no more", func(n *world) {
			n.heard = false
			for i := range n.reapers {
				n.reapers[i].along = false
			}
		})
	} else if !w.gone && w.faults < maxFaults {
		step("h1 is heard", func(n *world) { n.heard = true; n.faults++ })
	}
	switch {
	case !r.veto:
	case w.veto && (w.held || !w.heard):
		step("the veto ends", func(n *world) { n.veto = false; n.vetoes++ })
	case !w.veto && !w.held && w.heard:
		step("who hears h1 vetoes", func(n *world) { n.veto = true; n.vetoes++ })
	}
}

func (w world) stepsOfVictim(r rules, step func(string, func(*world))) {
	may := !w.marked || !r.fenceClaims
	switch {
	case w.held:
	case !w.h1.rejoined && w.marked && !w.h1.yields && r.yield:
		step("h1 notes that it was declared dead", func(n *world) { n.h1.yields = true })
	case !w.h1.rejoined:
		step("h1 takes off the mark, if there is one", func(n *world) {
			if n.marked {
				n.marked = false
				n.back++
			}
			n.h1.rejoined = true
		})
	case !w.h1.verified && r.verify:
		step("h1 compares its claim", func(n *world) {
			if n.look(may) {
				n.h1.verified, n.h1.yields = true, false
			}
		})
	case !w.marked || !r.fenceLease:
		step("h1 takes its lease", func(n *world) { n.held, n.gone = true, false; n.lease++ })
	default:
		step("h1 sees that it was declared dead again", func(n *world) { n.h1.rejoined, n.h1.verified = false, false })
	}
	if w.owner == 2 && w.h1.believes && w.h1.using && !w.h1.yields {
		step("h1 decides to take the address back", func(n *world) { n.h1.takes, n.h1.tenure = n.revision+1, n.back })
	} else {
		step("h1 looks at the address", func(n *world) { n.look(may) })
	}
	if w.owner == 1 && w.h1.believes {
		step("h1 uses the address", func(n *world) { n.h1.using = true })
	}
	if w.owner == 0 && !w.h1.believes && may {
		step("h1 claims the address", func(n *world) { n.owner, n.h1.believes = 1, true; n.revision++ })
	}
}

// look makes h1's claim and the store agree, and says whether they do.
func (w *world) look(may bool) bool {
	h1 := &w.h1
	switch {
	case w.owner == 1:
		h1.believes = true
	case !h1.believes:
	case w.owner == 2 && (!h1.using || h1.yields):
		h1.using, h1.believes = false, false
	case may: // nobody's, or that of one who claimed it later
		w.owner = 1
		w.revision++
	default:
		return false
	}
	return true
}

func (w world) stepsOfReaper(r rules, i int, step func(string, func(*world))) {
	me := w.reapers[i]
	name := func(s string) string { return fmt.Sprintf("reaper %d %s", i, s) }
	if me.step > 0 {
		step(name("dies"), func(n *world) { n.reapers[i] = reaper{} })
	}
	switch me.step {
	case 0:
		if !w.held && !w.veto {
			step(name("sees the lease free and begins to wait"), func(n *world) {
				n.reapers[i] = reaper{step: 1, lease: n.lease, vetoes: n.vetoes, along: n.heard}
			})
		}
	case 1:
		if w.lease == me.lease && w.vetoes == me.vetoes && (!me.along || !r.veto) {
			step(name("has waited long enough"), func(n *world) { n.reapers[i].step = 2 })
		}
	case 2:
		if w.marked {
			step(name("finds the mark"), func(n *world) {
				n.reapers[i] = reaper{step: 3, mark: n.mark}
			})
		} else if !w.held && w.lease == me.lease && (w.vetoes == me.vetoes || !r.fenceVeto) && w.mark < maxMarks {
			step(name("makes the mark"), func(n *world) {
				n.marked, n.gone = true, true
				n.mark++
				if !n.veto && !me.along { // only just heard again, and now known to be marked
					n.heard = false
				}
				n.reapers[i] = reaper{step: 3, mark: n.mark}
			})
		}
	case 3:
		if w.owner == 1 {
			step(name("lists the address"), func(n *world) { n.reapers[i].step, n.reapers[i].listed = 4, n.revision })
		}
	case 4:
		if w.revision == me.listed && (!r.fenceDeletes || w.marked && w.mark == me.mark) {
			step(name("deletes the claim"), func(n *world) { n.owner = 0; n.revision++; n.reapers[i] = reaper{} })
		}
	}
}

// explore visits every reachable state, and gives the steps to the first
// duplicate, if any.
func explore(r rules) (history []string, states int) {
	type from struct {
		world world
		step  string
	}
	start := world{owner: 1, held: true, heard: true, h1: victim{using: true, believes: true, rejoined: true, verified: true}}
	seen := map[world]from{start: {}}
	for queue := []world{start}; len(queue) > 0; queue = queue[1:] {
		w := queue[0]
		if w.duplicate() {
			for w != start {
				history = append([]string{seen[w].step}, history...)
				w = seen[w].world
			}
			return history, len(seen)
		}
		for step, n := range w.next(r) {
			if n.revision > 12 || n.lease > 12 || n.vetoes > 2 {
				continue // further rounds repeat the earlier ones
			}
			if _, known := seen[n]; !known {
				seen[n] = from{w, step}
				queue = append(queue, n)
			}
		}
	}
	return nil, len(seen)
}

func TestNoInterleavingGivesADuplicate(t *testing.T) {
	history, states := explore(all())
	if history != nil {
		t.Errorf("a duplicate after %d steps:", len(history))
		for _, step := range history {
			t.Log(step)
		}
	}
	t.Logf("%d states", states)
	if states < 10_000 {
		t.Errorf("only %d states were reached: the model does nothing", states)
	}
}

// Without one of its parts the protocol fails, and the model finds it.
func TestTheModelFindsWhatAMissingPartCosts(t *testing.T) {
	for name, without := range map[string]func(*rules){
		"deletes are not fenced":       func(r *rules) { r.fenceDeletes = false },
		"claims are not fenced":        func(r *rules) { r.fenceClaims = false },
		"the lease is not fenced":      func(r *rules) { r.fenceLease = false },
		"claims are not compared":      func(r *rules) { r.verify = false },
		"the dead does not yield":      func(r *rules) { r.yield = false },
		"a decision outlives the mark": func(r *rules) { r.tenure = false },
		"nobody vetoes":                func(r *rules) { r.veto = false },
		"the veto is not fenced":       func(r *rules) { r.fenceVeto = false },
		"there is no fence whatever":   func(r *rules) { r.fenceDeletes, r.fenceClaims, r.fenceLease = false, false, false },
	} {
		r := all()
		without(&r)
		history, states := explore(r)
		if history == nil {
			t.Errorf("%s: no duplicate in %d states", name, states)
			continue
		}
		t.Logf("%s: a duplicate after %d steps, %d states", name, len(history), states)
		for _, step := range history {
			t.Log("  " + step)
		}
	}
}

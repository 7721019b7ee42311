package sequence

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
)

// docs makes a host's attachments, one for each "network=content".
func docs(all ...string) map[string]Doc {
	out := map[string]Doc{}
	for _, of := range all {
		out[of[:1]] = Doc{Attachment: overlay.Attachment{Network: of[:1], Host: "h1", Incarnation: "i"}, Digest: of[2:]}
	}
	return out
}

// numbered are the documents above seq as "network:number", a withdrawal with a minus.
func numbered(s *Sequence, seq uint64) []string {
	var out []string
	_, newer := s.Since(seq)
	for _, at := range newer {
		gone := ""
		if at.Gone {
			gone = "-"
		}
		out = append(out, fmt.Sprintf("%s%s:%d", gone, at.Network, at.Seq))
	}
	return out
}

func TestWhatHasChangedGetsTheNextNumbers(t *testing.T) {
	for what, tt := range map[string]struct {
		before, after map[string]Doc
		want          []string // above the numbers of before
	}{
		"nothing has changed":     {docs("a=1", "b=1"), docs("a=1", "b=1"), nil},
		"one has changed":         {docs("a=1", "b=1"), docs("a=2", "b=1"), []string{"a:3"}},
		"one is new":              {docs("a=1"), docs("a=1", "b=1"), []string{"b:2"}},
		"one is withdrawn":        {docs("a=1", "b=1"), docs("b=1"), []string{"-a:3"}},
		"changes come first":      {docs("a=1", "b=1"), docs("b=2", "c=1"), []string{"b:3", "c:4", "-a:5"}},
		"all of them, in a block": {nil, docs("a=1", "b=1", "c=1"), []string{"a:1", "b:2", "c:3"}},
	} {
		s, _ := Begin(Saved{}, "h1", "i")
		s.Number(s.Changed(tt.before))
		high := s.High()
		s.Number(s.Changed(tt.after))
		if diff := cmp.Diff(tt.want, numbered(&s, high)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		networks, _ := s.Since(0)
		if len(networks) != len(tt.after) {
			t.Errorf("%s: attached to %v, want %d networks", what, networks, len(tt.after))
		}
	}
}

func TestAWithdrawnNetworkComesBackUnderAHigherNumber(t *testing.T) {
	s, _ := Begin(Saved{}, "h1", "i")
	for _, current := range []map[string]Doc{docs("a=1"), docs(), docs("a=1")} {
		s.Number(s.Changed(current))
	}
	if diff := cmp.Diff([]string{"a:3"}, numbered(&s, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Numbers are written off before they are given out, and then for a while none is.
func TestBlocksAreReserved(t *testing.T) {
	s, first := Begin(Saved{}, "h1", "i")
	if first.Runs != 1 || first.Next != 1 {
		t.Errorf("the first process saves %+v", first)
	}
	if _, short := s.Reserve(0); short {
		t.Error("nothing is to be numbered, and numbers are short")
	}
	saved, short := s.Reserve(1)
	if !short || saved.Next != 1+block {
		t.Fatalf("to give out a first number %+v is saved: %v", saved, short)
	}
	s.Saved(saved)
	for given := 0; ; given++ {
		if _, short := s.Reserve(1); short {
			if given < block-1 {
				t.Errorf("the block was short after %d numbers", given)
			}
			break
		}
		s.high++
		if s.high >= saved.Next {
			t.Fatalf("number %d was given out, and those from %d on are not written off", s.high, saved.Next)
		}
	}
}

// The next process goes on where this one has ended, or above its block if it was killed.
func TestTheNextProcessGivesOutHigherNumbers(t *testing.T) {
	s, _ := Begin(Saved{}, "h1", "i")
	changed := s.Changed(docs("a=1", "b=1"))
	block, _ := s.Reserve(len(changed))
	s.Saved(block)
	s.Number(changed)
	for what, tt := range map[string]struct {
		saved Saved
		want  []string
	}{
		"it has ended in order": {s.End(), nil},
		"it was killed":         {block, []string{"a:1002", "b:1003"}},
	} {
		next, now := Begin(tt.saved, "h1", "i")
		if now.Runs != 2 || next.Runs() != 2 {
			t.Errorf("%s: the second process is the %dth", what, now.Runs)
		}
		high := next.High()
		next.Number(next.Changed(docs("a=1", "b=1")))
		if diff := cmp.Diff(tt.want, numbered(&next, high)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestAStateThatIsAnOldCopy(t *testing.T) {
	s, _ := Begin(Saved{Runs: 4, Next: 11}, "h1", "i")
	s.Number(s.Changed(docs("a=1")))
	if s.Overtake(11) {
		t.Error("the store has the same number, and was overtaken")
	}
	if !s.Overtake(20) {
		t.Error("the store has a higher number, and was not overtaken")
	}
	s.Number(s.Changed(docs("a=1")))
	if diff := cmp.Diff([]string{"a:21"}, numbered(&s, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for stored, want := range map[uint64]uint64{4: 0, 5: 6, 9: 10, 1 << 32: 0} {
		saved, later := s.Outlive(stored)
		if later != (want > 0) || saved.Runs != want {
			t.Errorf("the store knows process %d, this one is number 5 and becomes %d", stored, saved.Runs)
		}
		if later && saved.Next <= s.High() {
			t.Errorf("with process %d number %d could be given out again", stored, saved.Next)
		}
	}
}

func TestOldWithdrawalsAreForgotten(t *testing.T) {
	s, _ := Begin(Saved{}, "h1", "i")
	all := map[string]Doc{}
	for i := range keptGone + 10 {
		id := fmt.Sprintf("%03d", i)
		all[id] = Doc{Attachment: overlay.Attachment{Network: id}, Digest: "1"}
	}
	s.Number(s.Changed(all))
	s.Number(s.Changed(nil))
	_, newer := s.Since(0)
	if len(newer) != keptGone || newer[0].Network != "010" {
		t.Errorf("%d withdrawals are remembered, from that of network %q on", len(newer), newer[0].Network)
	}
}

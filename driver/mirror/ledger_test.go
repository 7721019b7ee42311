package mirror

import (
	"errors"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/overlay"
)

func TestActionMustBeWantedWithoutABreak(t *testing.T) {
	l := newLedger()
	a := action{kind: doDetach, docker: engine.Network{ID: "d1"}, after: lostFor}
	steps := []struct {
		at     int // seconds
		wanted bool
		due    bool
	}{
		{0, true, false},
		{29, true, false},
		{30, false, false}, // Docker lists it again
		{31, true, false},
		{60, true, false},
		{61, true, true},
	}
	for _, s := range steps {
		var want []action
		if s.wanted {
			want = append(want, a)
		}
		if got := len(l.due(want, at(s.at))) == 1; got != s.due {
			t.Errorf("after %d s due is %v, want %v", s.at, got, s.due)
		}
	}
}

func TestFailuresAreSpacedOutUntilNews(t *testing.T) {
	l := newLedger()
	a := action{kind: doCreate, network: overlay.Network{ID: "w1", Name: "a"}}
	now := at(0)
	var tries int
	for end := now.Add(time.Minute); now.Before(end); now = now.Add(50 * time.Millisecond) {
		for _, d := range l.due([]action{a}, now) {
			tries++
			l.done(d, errors.New("no"), now)
		}
	}
	if tries < 4 || tries > 25 {
		t.Errorf("%d tries in a minute", tries)
	}
	if got := l.conflicts(now)["a"]; got.Text != "no" {
		t.Errorf("conflict is %q", got.Text)
	}
	if l.wake(now, engine.LookEvery) == 0 {
		t.Error("the next try is at once")
	}
	if l.hurry(now, false); len(l.due([]action{a}, now)) != 0 {
		t.Error("tried again after a change that it may have made itself")
	}
	l.hurry(now, true)
	if len(l.due([]action{a}, now)) != 1 {
		t.Error("not tried again after news")
	}
	if l.due(nil, now); len(l.conflicts(now)) != 0 {
		t.Error("the conflict outlives its cause")
	}
}

func TestSoonErrorIsKeptBackForAMoment(t *testing.T) {
	l := newLedger()
	a := action{kind: doName, docker: engine.Network{ID: "d1", Name: "a"}}
	l.due([]action{a}, at(0))
	l.done(a, soonError{errors.New("soon")}, at(0))
	if len(l.conflicts(at(1))) != 0 {
		t.Error("told at once")
	}
	if l.hurry(at(0), false); len(l.due([]action{a}, at(0))) != 1 {
		t.Error("not tried again when the records change")
	}
	if len(l.conflicts(at(10))) != 1 {
		t.Error("never told")
	}
}

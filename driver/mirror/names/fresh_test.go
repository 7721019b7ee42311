package names

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/mirror/engine"
)

const longID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestNamesFromBeforeTheStartEndWithTheirContainer(t *testing.T) {
	for _, e := range []engine.Event{
		{Action: engine.Start, ID: longID},
		{Action: engine.Destroy, ID: longID},
		{Action: engine.Rename, ID: longID, OldName: "c1"},
	} {
		n := New(nil, nil, nil, logrus.New())
		n.fresh.all[longID] = freshContainer{name: "c1", since: time.Now(), names: map[string][]string{"a": {"c1", "db"}}}
		if _, names := n.fresh.find("c1", "a"); len(names) != 2 {
			t.Fatalf("names %q", names)
		}
		n.Event(t.Context(), e)
		if id, names := n.fresh.find("c1", "a"); id != "" || names != nil {
			t.Errorf("after %s: %s %q", e.Action, id, names)
		}
	}
}

// teller tells of every new container that it is in network a.
type teller struct{ Docker }

func (teller) NamesBefore(_ context.Context, id string) (map[string][]string, error) {
	return map[string][]string{"a": {id, "alias"}}, nil
}

func TestNewContainersAreRememberedWithABound(t *testing.T) {
	f := newFresh()
	for i := range 2 * freshMax {
		id := fmt.Sprint(i)
		if err := f.add(t.Context(), teller{}, id, id); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.all); n != freshMax {
		t.Errorf("%d are remembered, want %d", n, freshMax)
	}
	for id, c := range f.all {
		c.since = time.Now().Add(-freshFor - time.Second)
		f.all[id] = c
	}
	if err := f.add(t.Context(), teller{}, "next", "next"); err != nil {
		t.Fatal(err)
	}
	if _, names := f.find("next", "b", "a"); !slices.Equal(names, []string{"next", "alias"}) || len(f.all) != 1 {
		t.Errorf("next has names %q, and %d are remembered", names, len(f.all))
	}
}

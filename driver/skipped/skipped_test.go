package skipped_test

import (
	"fmt"
	"testing"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/skipped"
)

func TestEachReadingReplacesItsOwn(t *testing.T) {
	var l skipped.List
	a, b := skipped.Record{Key: "a", Kind: format.Unknown, Why: "x"}, skipped.Record{Key: "b", Kind: format.Large, Why: "y"}
	if news := l.Saw("one", a, b); len(news) != 2 {
		t.Errorf("news are %v", news)
	}
	if news := l.Saw("one", a, b); len(news) != 0 {
		t.Errorf("said again: %v", news)
	}
	l.Saw("two", a)
	if got := l.Records(); len(got) != 2 {
		t.Errorf("each key once: %v", got)
	}
	l.Saw("one", b)
	if got := l.Records(); len(got) != 2 {
		t.Errorf("another reading still passes it over: %v", got)
	}
	l.Saw("two")
	if got := l.Records(); len(got) != 1 || got[0] != b {
		t.Errorf("left is %v", got)
	}
}

func TestNamesAreFew(t *testing.T) {
	var some []skipped.Record
	for i := range 9 {
		some = append(some, skipped.Record{Key: fmt.Sprint(i)})
	}
	if got := skipped.Names(some); got != `"0", "1", "2" and 6 more` {
		t.Error(got)
	}
	if got := skipped.Names(some[:2]); got != `"0", "1"` {
		t.Error(got)
	}
}

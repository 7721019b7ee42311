package peers

import (
	"testing"
	"time"
)

func TestNumbersThatCount(t *testing.T) {
	const run = 1 << 32
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	later := began.Add(30 * 24 * time.Hour)
	tests := []struct {
		name   string
		heard  []uint64
		number uint64
		runs   uint64 // in the record
		now    time.Time
		want   bool
	}{
		{"the first of the process in the record", nil, 5*run + 1, 5, began, true},
		{"one long after its start", nil, 5*run + 1<<30, 5, began, true},
		{"no process says so much", nil, 5*run + 1<<31 + 1, 5, began, false},
		{"the next", []uint64{5*run + 7}, 5*run + 8, 5, began, true},
		{"the same again", []uint64{5*run + 7}, 5*run + 7, 5, began, false},
		{"one before", []uint64{5*run + 7}, 5*run + 6, 5, began, false},
		{"too many at once", []uint64{5*run + 7}, 5*run + 7 + mostMessages + 1, 5, began, false},
		{"as many as a month has", []uint64{5*run + 7}, 5*run + 30*24*3600, 5, later, true},
		{"of a process before the one in the record", nil, 4*run + 9, 5, began, false},
		{"of the next process", []uint64{5*run + 7}, 6*run + 1, 5, began, true},
		{"of one far away", []uint64{5*run + 7}, (5 + mostRuns + 1) * run, 5, began, false},
		{"step by step further away", []uint64{200 * run}, (5 + mostRuns + 1) * run, 5, began, false},
		{"of the process in the record, after a later one", []uint64{5*run + 7, 200*run + 9}, 5*run + 8, 5, began, true},
		{"of one between", []uint64{5*run + 7, 200*run + 9}, 6*run + 1, 5, began, false},
		{"of a weft that does not tell", nil, 7*run + 1, 0, began, true},
		{"its next process", []uint64{7*run + 1}, 8*run + 1, 0, began, true},
		{"its process before", []uint64{7*run + 1}, 6*run + 1, 0, began, false},
		{"absurd at first", nil, 1 << 63, 0, began, false},
		{"absurd later", []uint64{7*run + 1}, (8 + mostRuns) * run, 0, began, false},
	}
	for _, tt := range tests {
		l := &link{spoken: map[uint64]spoken{}}
		for _, n := range tt.heard {
			l.note(n, tt.runs, began)
		}
		if got := l.fresh(tt.number, tt.runs, tt.now); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

package push

import (
	"testing"
	"time"
)

func TestWhichMessagesAreFresh(t *testing.T) {
	const first = 7<<32 + 10
	none, known, old := acquaintance{}, acquaintance{process: "p", since: first}, acquaintance{since: first}
	for _, tt := range []struct {
		name string
		a    acquaintance
		m    message
		want bool
	}{
		{"a beat of one that nobody knows", none, message{Kind: beat, Process: "p", Number: first}, false},
		{"a document of his", none, message{Kind: delta, Process: "p", Number: first}, false},
		{"he introduces himself", none, message{Kind: beat, Process: "p", To: "me", Number: first}, true},
		{"to another process", none, message{Kind: beat, Process: "p", To: "before me", Number: first}, false},
		{"by a document, which is no way", none, message{Kind: delta, Process: "p", To: "me", Number: first}, false},
		{"a beat after that", known, message{Kind: beat, Process: "p", Number: first + 1}, true},
		{"and before", known, message{Kind: beat, Process: "p", Number: first - 1}, false},
		{"a document after that", known, message{Kind: delta, Process: "p", Number: first}, true},
		{"and before", known, message{Kind: delta, Process: "p", Number: first - 1}, false},
		{"the next process", known, message{Kind: beat, Process: "q", Number: 8<<32 + 1}, false},
		{"which introduces itself", known, message{Kind: beat, Process: "q", To: "me", Number: 8<<32 + 1}, true},
		{"a beat of an earlier weft", none, message{Kind: beat, Number: first}, true},
		{"its document before any beat", none, message{Kind: delta}, false},
		{"and after one", old, message{Kind: delta}, true},
		{"its next beat", old, message{Kind: beat, Number: first + 1}, true},
		{"that of its next process", old, message{Kind: beat, Number: 8<<32 + 1}, true},
		{"it is updated", old, message{Kind: beat, Process: "p", Number: 8<<32 + 1}, false},
		{"a beat of before the update", known, message{Kind: beat, Number: first + 1}, false},
		{"a document of before the update", known, message{Kind: delta}, false},
		{"an earlier weft is installed again", known, message{Kind: beat, Number: 8<<32 + 1}, true},
	} {
		if got := tt.a.fresh(tt.m, "me"); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestWhoIsBelievedAfterABeat(t *testing.T) {
	known := acquaintance{process: "p", since: 5}
	for _, tt := range []struct {
		name    string
		a, want acquaintance
		m       message
	}{
		{"the first", acquaintance{}, known, message{Process: "p", Number: 5}},
		{"the same again", known, known, message{Process: "p", Number: 9}},
		{"another", known, acquaintance{process: "q", since: 1}, message{Process: "q", Number: 1}},
		{"one of an earlier weft", known, acquaintance{since: 9}, message{Number: 9}},
	} {
		if got := tt.a.after(tt.m); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Hosts that do not believe each other, whatever they say, do not go on asking each other.
func TestAHostIsNotAskedAllTheTime(t *testing.T) {
	c := newCircle()
	stranger := message{Kind: beat, Host: "h2", Process: "p", Ask: true, Number: 1}
	asked, began := 0, time.Now()
	for range 1000 {
		if c.admits(stranger) {
			t.Fatal("a stranger is believed")
		}
		w := c.owed()["h2"]
		if w.to != "p" {
			t.Fatalf("who asks is told %+v", w)
		}
		if w.ask {
			asked++
		}
	}
	if most := 1 + int(time.Since(began)/introduceEvery); asked == 0 || asked > most {
		t.Errorf("it was asked %d times, and may be %d times", asked, most)
	}
	if len(c.owed()) > 0 {
		t.Error("it is told twice")
	}
	c.keep(nil)
	if len(c.hosts) > 0 {
		t.Error("a host that is gone is kept")
	}
}

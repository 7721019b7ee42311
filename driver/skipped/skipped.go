// Package skipped keeps which records of the cluster's store this host passes over,
// and why, for whoever is to mend them. One record that cannot be used says nothing
// about the others: what it would change stays as it is, and everything else goes on.
package skipped

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/weft-net/weft/driver/format"
)

// Record is one record that is passed over.
type Record struct {
	Key  string      `json:"key"`
	Kind format.Kind `json:"kind"`
	Why  string      `json:"why"`            // ends a sentence that begins with the key
	Cure string      `json:"cure,omitempty"` // what to do; empty: delete the record
}

// Of makes a Record from a format.Fault in err; false if there is none.
func Of(key string, err error) (Record, bool) {
	f := format.AsFault(err)
	if f == nil {
		return Record{}, false
	}
	out := Record{Key: key, Kind: f.Kind, Why: f.Why}
	if f.Kind == format.Newer {
		out.Why, out.Cure, _ = strings.Cut(f.Why, ": ")
	}
	return out, true
}

// Text says it in one sentence.
func (r Record) Text() string { return fmt.Sprintf("record %q %s", r.Key, r.Why) }

// List is all that is passed over. The zero List is empty. Safe for concurrent use.
type List struct {
	mu     sync.Mutex
	scopes map[string][]Record
}

// Saw replaces what is known of one reading by what is passed over in it now; scope
// names the reading, as by the prefix that was read. It gives the records that no
// reading of this scope had passed over before for the same reason, in order.
func (l *List) Saw(scope string, now ...Record) (news []Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := make(map[Record]bool, len(l.scopes[scope]))
	for _, r := range l.scopes[scope] {
		before[r] = true
	}
	for _, r := range now {
		if !before[r] {
			news = append(news, r)
		}
	}
	if len(now) == 0 {
		delete(l.scopes, scope)
		return nil
	}
	if l.scopes == nil {
		l.scopes = map[string][]Record{}
	}
	l.scopes[scope] = slices.Clone(now)
	return news
}

// Records are all that are passed over, sorted, each key once.
func (l *List) Records() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Record
	for _, some := range l.scopes {
		out = append(out, some...)
	}
	slices.SortFunc(out, func(a, b Record) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Why, b.Why)) })
	return slices.CompactFunc(out, func(a, b Record) bool { return a.Key == b.Key })
}

// few is how many records a sentence names.
const few = 3

// Names names the first few records, and says how many more there are.
func Names(records []Record) string {
	var out []string
	for _, r := range records[:min(few, len(records))] {
		out = append(out, fmt.Sprintf("%q", r.Key))
	}
	text := strings.Join(out, ", ")
	if more := len(records) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

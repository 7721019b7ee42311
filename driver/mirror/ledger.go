package mirror

import (
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// ledger remembers between passes how long actions have been wanted, and which
// have failed.
type ledger struct {
	wanted map[string]*entry // by action.key
}

type entry struct {
	since    time.Time // wanted without a break since
	next     time.Time // not to be tried before
	retry    *backoff.ExponentialBackOff
	subject  string
	sentence string // why it failed last, or what it reports
	soon     bool   // sentence is that of a soonError
	grave    bool   // sentence is that of a graveError
	id       string // weft's id of the network
}

func newLedger() *ledger { return &ledger{wanted: map[string]*entry{}} }

// due takes in what a pass wants, forgets what it does not want any more, and
// gives the actions whose time has come.
func (l *ledger) due(actions []action, now time.Time) []action {
	wanted := make(map[string]*entry, len(actions))
	var out []action
	for _, a := range actions {
		e := l.wanted[a.key()]
		if e == nil {
			e = &entry{since: now, next: now.Add(a.after), subject: a.subject(), id: a.network.ID}
		}
		wanted[a.key()] = e
		if now.Before(e.next) {
			continue
		}
		if a.kind == doReport {
			e.sentence = a.why
			continue
		}
		out = append(out, a)
	}
	l.wanted = wanted
	return out
}

// done takes in how an action went.
func (l *ledger) done(a action, err error, now time.Time) {
	e := l.wanted[a.key()]
	if e == nil {
		return
	}
	if err == nil { // the next pass does not want it any more, or it did not help
		e.sentence = ""
		e.next = now.Add(repeat)
		return
	}
	e.sentence, e.soon, e.grave = err.Error(), errors.As(err, &soonError{}), errors.As(err, &graveError{})
	if e.retry == nil {
		e.retry = backoff.NewExponentialBackOff()
		e.retry.InitialInterval, e.retry.MaxInterval = 100*time.Millisecond, 15*time.Second
	}
	e.next = now.Add(e.retry.NextBackOff())
}

// repeat is when an action that has succeeded is done again if it is still wanted:
// the registry may be a moment behind.
const repeat = time.Second

// hurry lets failed actions be tried again at once, because something has
// happened that may help. A change of the records helps only against
// soonErrors: it may be the failed action's own doing.
func (l *ledger) hurry(now time.Time, docker bool) {
	for _, e := range l.wanted {
		if e.retry != nil && (docker || e.soon) {
			e.next = now
		}
	}
}

// wake is how long the next pass may wait, at most longest.
func (l *ledger) wake(now time.Time, longest time.Duration) time.Duration {
	for _, e := range l.wanted {
		if e.next.After(now) {
			longest = min(longest, e.next.Sub(now))
		} else if e.retry != nil {
			longest = 0
		}
	}
	return longest
}

// patience is how long a soonError is kept from people.
const patience = 3 * time.Second

// conflicts are the sentences by subject.
func (l *ledger) conflicts(now time.Time) map[string]Conflict {
	out := map[string]Conflict{}
	for _, e := range l.wanted {
		if e.sentence != "" && (!e.soon || now.Sub(e.since) >= patience) {
			out[e.subject] = Conflict{ID: e.id, Text: e.sentence, grave: e.grave}
		}
	}
	return out
}

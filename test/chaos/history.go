package chaos

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// history is what has been done, and how it went, by time.
type history struct {
	began time.Time
	say   func(format string, args ...any) // failures at once

	mu       sync.Mutex
	lines    []line
	failures []string
}

type line struct {
	at   time.Time
	text string
}

// note adds what began at a time.
func (h *history) note(at time.Time, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line{at, fmt.Sprintf(format, args...)})
}

// fail adds what must not be.
func (h *history) fail(at time.Time, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	h.note(at, "FAILURE: %s", text)
	h.say("FAILURE: %s", text)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failures = append(h.failures, fmt.Sprintf("%s %s", h.stamp(at), text))
}

func (h *history) stamp(at time.Time) string {
	return fmt.Sprintf("%8.3fs %s", at.Sub(h.began).Seconds(), at.UTC().Format("15:04:05.000"))
}

// String lists everything by the time at which it began.
func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := slices.SortedStableFunc(slices.Values(h.lines), func(a, b line) int { return a.at.Compare(b.at) })
	var out strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&out, "%s  %s\n", h.stamp(l.at), l.text)
	}
	return out.String()
}

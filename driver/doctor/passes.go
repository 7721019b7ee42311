package doctor

import (
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/control"
)

var passesCheck = Check{
	Name: "passes", Code: 31, About: "the kernel matches weft's records",
	After: []string{"daemon", "kernel", "vxlan-port", "leftovers"},
	Run:   ofState(func(s control.State) []Finding { return passes(s, time.Now()) }),
}

// passes says what keeps the kernel from matching the records.
func passes(s control.State, now time.Time) []Finding {
	var out []Finding
	host := "host " + s.Snapshot.Self.Name
	p := s.Passes
	if p.Overdue(now) {
		out = append(out, Finding{
			Object:   host,
			Problem:  fmt.Sprintf("weft last looked at the kernel of %s at %s, though that is due every %s: a call to the kernel hangs", host, p.Last.UTC().Format(time.RFC3339), p.Every),
			Cure:     "restart weft (systemctl restart weft), and the host if that does not help; traffic goes on meanwhile",
			Severity: control.Broken,
		})
	}
	for _, text := range p.Errors {
		out = append(out, Finding{
			Object:   host,
			Problem:  fmt.Sprintf("the kernel of %s does not match weft's records: %s", host, text),
			Cure:     "remove what the sentence names if it is not weft's; weft tries again every few seconds",
			Severity: control.Broken,
		})
	}
	return append(out, control.Crowded(s)...)
}

package control

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// doctorTime is how long a diagnosis may take: each check has a deadline of its
// own, and they run side by side.
const doctorTime = 45 * time.Second

// Diagnosis is the answer to GET /v1/doctor, and what `weft doctor --json`
// writes.
type Diagnosis struct {
	Healthy bool          `json:"healthy"` // no check has a finding, but notes
	Code    int           `json:"code"`    // exit code of `weft doctor`
	Host    string        `json:"host"`
	Daemon  bool          `json:"daemon"` // the daemon made the checks; else the command did, without it
	Checks  []CheckResult `json:"checks"`
}

// CheckResult is what one check came to.
type CheckResult struct {
	Check      string        `json:"check"`
	Code       int           `json:"code"`                  // exit code if only this check has findings
	About      string        `json:"about"`                 // what is looked at
	Findings   []Finding     `json:"findings"`              // empty: all is well, unless NotChecked
	Follows    []string      `json:"follows,omitempty"`     // other checks with findings that explain this one's, which then do not count
	NotChecked string        `json:"not_checked,omitempty"` // why the check could not be made
	Took       time.Duration `json:"took_ns"`
}

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Broken Severity = "broken" // something does not work now
	Risk   Severity = "risk"   // all works, but will not for long or not in every case
	Note   Severity = "note"   // all works; somebody who looks for a cause may want to know
)

// Wrong gives the findings that are more than notes.
func (r CheckResult) Wrong() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Severity == Note })
}

// Counts says whether the check found something that is wrong, and that follows from
// nothing else.
func (r CheckResult) Counts() bool { return len(r.Wrong()) > 0 && len(r.Follows) == 0 }

// Finding is one thing that is wrong, or a note.
type Finding struct {
	Check    string   `json:"check"`
	Object   string   `json:"object"`  // what it is found on: a host, a link, a file
	Problem  string   `json:"problem"` // one sentence: what is wrong, on which object, why
	Cure     string   `json:"cure"`    // one sentence: what to do
	Severity Severity `json:"severity"`
}

// Doctor has the daemon examine its host; only names the checks to make, nil
// is all of them.
func (c Client) Doctor(ctx context.Context, only []string) (Diagnosis, error) {
	q := url.Values{}
	if len(only) > 0 {
		q.Set("only", strings.Join(only, ","))
	}
	return sendWithin[Diagnosis](ctx, c, doctorTime, http.MethodGet, "doctor", q)
}

// serveDoctor answers GET /v1/doctor?only=name,… .
func (s *Server) serveDoctor(examine func(ctx context.Context, only []string) (Diagnosis, error)) {
	s.mux.HandleFunc("GET /v1/doctor", func(w http.ResponseWriter, r *http.Request) {
		var only []string
		if names := r.URL.Query().Get("only"); names != "" {
			only = strings.Split(names, ",")
		}
		d, err := examine(r.Context(), only)
		if err != nil {
			s.fail(w, r, http.StatusBadRequest, err)
			return
		}
		s.reply(w, r, http.StatusOK, d)
	})
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/control"
)

// limit is how long one check may take. A connection to a host that drops everything
// is given up after 3 s, and a store is asked several questions.
const limit = 15 * time.Second

// Examine makes the checks of these names side by side; without names it makes all.
// The error is about the names. A check that hangs is given up and may go on, see
// Host.Wait.
func Examine(ctx context.Context, h *Host, only []string) (control.Diagnosis, error) {
	return examine(ctx, All, h, only)
}

func examine(ctx context.Context, all []Check, h *Host, only []string) (control.Diagnosis, error) {
	checks, err := find(all, only)
	if err != nil {
		return control.Diagnosis{}, err
	}
	out := control.Diagnosis{Host: h.Config.Host, Daemon: h.NoDaemon == nil, Checks: make([]control.CheckResult, len(checks))}
	var g errgroup.Group
	for i, c := range checks {
		g.Go(func() error {
			out.Checks[i] = run(ctx, c, h)
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	explain(out.Checks, checks)
	out.Code = code(out.Checks)
	out.Healthy = out.Code == 0
	return out, nil
}

// run makes one check.
func run(ctx context.Context, c Check, h *Host) control.CheckResult {
	out := control.CheckResult{Check: c.Name, Code: c.Code, About: c.About, Findings: []Finding{}}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	type answer struct {
		findings []Finding
		err      error
	}
	answers := make(chan answer, 1)
	h.running.Go(func() {
		findings, err := c.Run(ctx, h)
		answers <- answer{findings, err}
	})
	select {
	case a := <-answers:
		out.Findings = append(out.Findings, a.findings...)
		if a.err != nil {
			out.NotChecked = a.err.Error()
			if errors.Is(a.err, context.DeadlineExceeded) {
				out.NotChecked = fmt.Sprintf("no answer within %s", limit)
			}
		}
	case <-ctx.Done(): // a call to the kernel that hangs
		out.NotChecked = fmt.Sprintf("no answer within %s", limit)
	}
	for i := range out.Findings {
		out.Findings[i].Check = c.Name
	}
	out.Took = time.Since(began)
	return out
}

// explain notes which results follow from the findings of other checks.
func explain(results []control.CheckResult, checks []Check) {
	found := map[string]bool{}
	for _, r := range results {
		found[r.Check] = len(r.Wrong()) > 0
	}
	for i := range results {
		if len(results[i].Wrong()) == 0 {
			continue
		}
		for _, cause := range checks[i].After {
			if found[cause] {
				results[i].Follows = append(results[i].Follows, cause)
			}
		}
	}
}

// code is the exit code: 0, the code of the only check with findings that count,
// or SeveralCode.
func code(results []control.CheckResult) int {
	counts := slices.DeleteFunc(slices.Clone(results), func(r control.CheckResult) bool {
		return !r.Counts()
	})
	switch len(counts) {
	case 0:
		return 0
	case 1:
		return counts[0].Code
	}
	return SeveralCode
}

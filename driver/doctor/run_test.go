package doctor

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/weft-net/weft/driver/control"
)

func check(name string, code int, after ...string) Check {
	return Check{Name: name, Code: code, After: after, Run: func(context.Context, *Host) ([]Finding, error) {
		return []Finding{{Object: "o", Problem: "p", Cure: "c", Severity: control.Broken}}, nil
	}}
}

func well(name string, code int) Check {
	return Check{Name: name, Code: code, Run: func(context.Context, *Host) ([]Finding, error) { return nil, nil }}
}

func TestExitCodeNamesTheOnlyCheck(t *testing.T) {
	for name, c := range map[string]struct {
		checks []Check
		want   int
	}{
		"healthy":                {[]Check{well("a", 10), well("b", 11)}, 0},
		"one":                    {[]Check{well("a", 10), check("b", 11)}, 11},
		"several":                {[]Check{check("a", 10), check("b", 11)}, SeveralCode},
		"what follows":           {[]Check{check("a", 10), check("b", 11, "a")}, 10},
		"nothing to follow from": {[]Check{well("a", 10), check("b", 11, "a")}, 11},
	} {
		d, err := examine(t.Context(), c.checks, &Host{}, nil)
		if err != nil || d.Code != c.want || d.Healthy != (c.want == 0) {
			t.Errorf("%s: code %d, healthy %v, error %v, want code %d", name, d.Code, d.Healthy, err, c.want)
		}
	}
}

func TestCheckThatCannotBeMadeFindsNothing(t *testing.T) {
	cannot := Check{Name: "a", Code: 10, Run: func(context.Context, *Host) ([]Finding, error) {
		return nil, errors.New("no rights")
	}}
	d, err := examine(t.Context(), []Check{cannot}, &Host{}, nil)
	if err != nil || d.Code != 0 || d.Checks[0].NotChecked != "no rights" {
		t.Fatalf("%+v, %v", d, err)
	}
}

// A check that hangs is given up, but what it looks through can be closed only
// when it has ended.
func TestCheckThatHangsIsWaitedForElsewhere(t *testing.T) {
	release, ended := make(chan struct{}), false
	hangs := Check{Name: "a", Code: 10, Run: func(context.Context, *Host) ([]Finding, error) {
		<-release
		ended = true
		return nil, nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := &Host{}
	d, err := examine(ctx, []Check{hangs}, h, nil)
	if err != nil || d.Checks[0].NotChecked == "" {
		t.Fatalf("%+v, %v", d, err)
	}
	close(release)
	if h.Wait(); !ended {
		t.Error("the check goes on")
	}
}

func TestOnlySomeChecks(t *testing.T) {
	all := []Check{check("a", 10), check("b", 11), check("c", 12)}
	d, err := examine(t.Context(), all, &Host{}, []string{"c", "a"})
	if err != nil || len(d.Checks) != 2 || d.Checks[0].Check != "a" || d.Checks[1].Check != "c" {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := examine(t.Context(), all, &Host{}, []string{"nothing"}); err == nil {
		t.Fatal("a check that there is not was made")
	}
}

// Codes are for scripts: each check has its own, clear of the other commands'
// and of the shell's (126 and up).
func TestCodesAreTheirOwn(t *testing.T) {
	codes, names := map[int]string{}, []string{}
	for _, c := range All {
		if c.Code < 10 || c.Code > 99 || codes[c.Code] != "" {
			t.Errorf("check %s has code %d, which is %q's or none", c.Name, c.Code, codes[c.Code])
		}
		codes[c.Code] = c.Name
		if slices.Contains(names, c.Name) || c.About == "" {
			t.Errorf("check %q is there twice or says nothing about itself", c.Name)
		}
		for _, cause := range c.After {
			if !slices.Contains(names, cause) {
				t.Errorf("check %s follows %q, which is not before it", c.Name, cause)
			}
		}
		names = append(names, c.Name)
	}
}

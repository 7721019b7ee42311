package direct

import (
	"strings"
	"testing"
	"time"
)

// Each letter is one look, a second after the one before: y is a probe with an answer, n
// one without, and - a look after which no probe had been sent. What is wanted is the
// state after each: T, P or D.
func TestHowPacketsGoAfterProbes(t *testing.T) {
	for name, c := range map[string]struct{ looks, want string }{
		"three answers in a row":           {"yyy", "PPD"},
		"a lost one begins the row anew":   {"yynyyy", "PPPPPD"},
		"no answer at all":                 {"nnn", "PPT"},
		"answers now and then":             {"nynnynnn", "PPPPPPPT"},
		"one lost probe, or two":           {"yyynyynny", "PPDDDDDDD"},
		"three lost probes":                {"yyynnn", "PPDDDT"},
		"nothing is probed while it rests": {"nnn----------y", "PPTTTTTTTTTTTP"},
		"nothing was sent":                 {"---", "TTT"},
		"a look without a probe":           {"yyy-n-n-y", "PPDDDDDDD"},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pair
			var got strings.Builder
			now := time.Unix(1_000_000, 0)
			for _, look := range c.looks {
				if probes := p.Probes(now); probes != (look != '-') && name != "nothing was sent" && name != "a look without a probe" {
					t.Errorf("after %q: probes: %v", got.String(), probes)
				}
				now = now.Add(Every)
				p = p.Next(now, look != '-', look == 'y')
				got.WriteString(strings.ToUpper(string(p.State[:1])))
			}
			if got.String() != c.want {
				t.Errorf("%s gives %s, want %s", c.looks, got.String(), c.want)
			}
		})
	}
}

// A pair that fails again and again rests longer each time, and one that was well for
// long begins anew.
func TestRestsGrow(t *testing.T) {
	var p Pair
	now := time.Unix(1_000_000, 0)
	look := func(answered bool) {
		now = now.Add(Every)
		p = p.Next(now, true, answered)
	}
	rest := func() time.Duration {
		began := now
		for !p.Probes(now) {
			now = now.Add(Every)
			p = p.Next(now, false, false)
		}
		return now.Sub(began)
	}
	fail := func() {
		for range Missed {
			look(false)
		}
	}
	for _, seconds := range []int{10, 20, 40, 80, 160, 300, 300} {
		fail()
		if got := rest(); got != time.Duration(seconds)*time.Second {
			t.Errorf("rests for %v, want %d s", got, seconds)
		}
	}
	for range Enough {
		look(true)
	}
	if p.State != Direct {
		t.Fatalf("is %s", p.State)
	}
	fail()
	if got := rest(); got != mostRest {
		t.Errorf("after a short while it rests for %v", got)
	}
	for range Enough + int(wellFor/Every) {
		look(true)
	}
	fail()
	if got := rest(); got != leastRest {
		t.Errorf("after it was well it rests for %v", got)
	}
}

// The kernel sends packets through the tunnel before, or as soon as, the decision does.
func TestTheLeaseIsShort(t *testing.T) {
	if Lease >= Missed*Every || Lease < 2*Every {
		t.Errorf("%v", Lease)
	}
}

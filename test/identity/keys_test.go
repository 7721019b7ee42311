package identity

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// told is what `weft status` says of the key and of this host.
type told struct {
	Healthy  bool
	Problems []string
	Keys     struct {
		Generation uint64
		Count      int
	}
}

// storedKeys are the keys that the store has.
func storedKeys(t *testing.T) (keys []string) {
	t.Helper()
	text, err := cluster.Consul(1).Request(t.Context(), "GET", "/v1/kv/weft/meta?raw", nil)
	ctl(t, err)
	meta := struct {
		PSK *[]string `json:"psk"`
	}{&keys}
	ctl(t, json.Unmarshal(text, &meta))
	return keys
}

// changed waits until the hosts have one key, another one than before and later than that
// generation, and gives it.
func changed(t *testing.T, than uint64, hosts ...*lab.Host) (generation uint64) {
	t.Helper()
	for _, h := range hosts {
		labtest.Eventually(t, 20*time.Second, h.Name()+" has another key", func() error {
			s := labtest.Weft[told](t, h, "status")
			if generation = s.Keys.Generation; generation <= than || s.Keys.Count != 1 {
				return fmt.Errorf("it has %+v", s.Keys)
			}
			return nil
		})
	}
	return generation
}

// The key changes by command, and when a host leaves. Containers notice nothing, and
// neither do hosts.
func TestTheKeyOfTheHosts(t *testing.T) {
	h1, h2, h3 := cluster.Host("h1"), cluster.Host("h2"), cluster.Host("h3")
	all := []*lab.Host{h1, h2, h3}
	start := labtest.Weft[told](t, h1, "status").Keys.Generation
	logged := map[*lab.Host]int{}
	for _, h := range all {
		logged[h] = labtest.Logged(t, h, "fallen silent")
	}
	end1, end2 := undisturbed(t, h1), undisturbed(t, h2)

	former := storedKeys(t)
	answer := labtest.Weft[struct{ Generation uint64 }](t, h2, "keys", "rotate")
	if answer.Generation != start+1 {
		t.Errorf("the command tells of generation %d after %d", answer.Generation, start)
	}
	if got := changed(t, start, all...); got != start+1 {
		t.Errorf("the key was changed %d times", got-start)
	}
	if now := storedKeys(t); len(now) != 1 || slices.Contains(former, now[0]) {
		t.Error("the store has the former key, or several")
	}

	former = storedKeys(t)
	_, err := h3.Run(t.Context(), "weft", "leave", "--force")
	ctl(t, err)
	if got := changed(t, start+1, h1, h2); got != start+2 {
		t.Errorf("leaving has changed the key %d times", got-start-1)
	}
	if now := storedKeys(t); len(now) != 1 || slices.Contains(former, now[0]) {
		t.Error("the store has the key that h3 knows, or several")
	}
	for _, h := range []*lab.Host{h1, h2} {
		labtest.Eventually(t, 10*time.Second, h.Name()+" is well", func() error {
			if s := labtest.Weft[told](t, h, "status"); !s.Healthy {
				return fmt.Errorf("it has %v", s.Problems)
			}
			return nil
		})
		if n := labtest.Logged(t, h, "fallen silent") - logged[h]; n > 0 {
			t.Errorf("%s has taken a host for silent %d times", h.Name(), n)
		}
	}
	end1()
	end2()

	h3.WeftArgs()
	ctl(t, h3.Start(t.Context(), lab.Weft))
	distinct(t, serves(t, h3))
	changed(t, start+1, all...)
}

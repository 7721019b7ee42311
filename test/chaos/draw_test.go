package chaos

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

var threeHosts = []string{"h1", "h2", "h3"}

func TestTheSeedDecidesTheOperations(t *testing.T) {
	draw := func(seed uint64) (all []op) {
		s := newScript(Config{Seed: seed, Servers: 1}, threeHosts)
		for range 500 {
			all = append(all, s.next())
		}
		return all
	}
	if a, b := draw(7), draw(7); !reflect.DeepEqual(a, b) {
		t.Error("one seed gives two scripts")
	}
	if a, b := draw(7), draw(8); reflect.DeepEqual(a, b) {
		t.Error("two seeds give one script")
	}
}

func TestAScriptKeepsItsBounds(t *testing.T) {
	s := newScript(Config{Seed: 3, Servers: 3, LiveRestore: true}, threeHosts)
	kinds := map[kind]int{}
	for range 5000 {
		o := s.next()
		kinds[o.kind]++
		if len(s.boxes) > maxBoxes || len(s.networks) > maxNetworks {
			t.Fatalf("%d containers and %d networks", len(s.boxes), len(s.networks))
		}
		if (o.kind == cutHosts || o.kind == forgeMessages) && (o.host == o.peer || !slices.Contains(threeHosts, o.peer)) {
			t.Errorf("%s", o)
		}
	}
	for _, w := range weights {
		if kinds[w.kind] == 0 {
			t.Errorf("nothing of %q in 5000", w.kind)
		}
	}
}

func TestTroublesAreRememberedWithGrace(t *testing.T) {
	var all troubles
	over := all.begin("h1/weft")
	now := time.Now()
	if !all.within("h1/weft", now, now.Add(time.Second), 0) || all.within("h2/weft", now, now.Add(time.Second), 0) {
		t.Error("what lasts is not found, or on another host")
	}
	over()
	later := time.Now().Add(3 * time.Second)
	if all.within("h1/weft", later, later, time.Second) || !all.within("h1/weft", later, later, 5*time.Second) {
		t.Error("grace is wrong")
	}
}

func TestOnlyKeysThatConsulTakesAreSpoilt(t *testing.T) {
	for key, want := range map[string]bool{
		"": false, "host//doc": false, "net/" + " ": false, "host/\x01/doc": false, "host/": true, "net/\xff": true, "at/h1/x": true,
	} {
		if got := writable(key); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
}

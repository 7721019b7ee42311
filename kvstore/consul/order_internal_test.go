package consul

import (
	"fmt"
	"slices"
	"testing"
)

var three = []string{"192.0.2.1:8500", "192.0.2.2:8500", "192.0.2.3:8500"}

// Of many hosts each server is the first of about a third, and of those each other
// one is the second of about half. A host's order is always the same one, whatever
// the order of the list.
func TestHostsSpreadOverTheServers(t *testing.T) {
	const hosts = 600
	first, second := map[string]int{}, map[string]int{}
	backward := slices.Clone(three)
	slices.Reverse(backward)
	for i := range hosts {
		host := fmt.Sprintf("h%d", i)
		got := order(three, host)
		if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, three) {
			t.Fatalf("%s tries %v", host, got)
		}
		if again := order(backward, host); !slices.Equal(got, again) {
			t.Errorf("%s tries %v, and %v of the list the other way round", host, got, again)
		}
		first[got[0]]++
		second[got[0]+" "+got[1]]++
	}
	for server, n := range first {
		if n < hosts/3*7/10 || n > hosts/3*13/10 {
			t.Errorf("%d of %d hosts use %s", n, hosts, server)
		}
	}
	for pair, n := range second {
		if len(second) != 6 || n < hosts/6*6/10 || n > hosts/6*14/10 {
			t.Errorf("of the order %s there are %d hosts of %d; the orders are %v", pair, n, hosts, second)
		}
	}
}

func TestAnAgentOnTheHostGoesFirst(t *testing.T) {
	for _, agent := range []string{"127.0.0.1:8500", "[::1]:8500", "localhost:8500"} {
		for i := range 20 {
			if got := order(append(slices.Clone(three), agent), fmt.Sprintf("h%d", i)); got[0] != agent {
				t.Errorf("h%d tries %v", i, got)
			}
		}
	}
	if got := order(three, ""); !slices.Equal(got, three) {
		t.Errorf("who has no name tries %v", got)
	}
}

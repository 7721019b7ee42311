package main

import (
	"reflect"
	"testing"
	"time"
)

func some() settings {
	return settings{Hosts: 7, Networks: 5, Endpoints: 40, Lasts: 5 * time.Minute, Rate: 3, Seed: 9}
}

// The workload is decided by its settings alone.
func TestWorkloadRepeats(t *testing.T) {
	if !reflect.DeepEqual(workload(some()), workload(some())) {
		t.Error("the same settings give another workload")
	}
	other := some()
	other.Seed++
	if reflect.DeepEqual(workload(some()), workload(other)) {
		t.Error("another seed gives the same workload")
	}
}

// Only what runs is stopped, and only once; the first network is everywhere, and the
// second is only host 0's.
func TestWorkloadIsPossible(t *testing.T) {
	s := some()
	running := map[int]event{}
	for _, p := range workload(s) {
		last := time.Duration(0)
		for _, e := range p.Events {
			if e.After < last || p.Name != phaseFill && e.After > p.Lasts {
				t.Errorf("%s: %+v is out of order", p.Name, e)
			}
			last = e.After
			switch e.Kind {
			case start:
				if _, runs := running[e.Endpoint]; runs || e.Host < 0 || e.Host >= s.Hosts || e.Network < 0 || e.Network >= s.Networks {
					t.Errorf("%s: %+v cannot be", p.Name, e)
				}
				running[e.Endpoint] = e
				if e.Network == alone && e.Host != 0 {
					t.Errorf("%s: %+v is in the network of host 0", p.Name, e)
				}
			case stop:
				if was, runs := running[e.Endpoint]; !runs || was.Host != e.Host {
					t.Errorf("%s: %+v stops what does not run there", p.Name, e)
				}
				delete(running, e.Endpoint)
			case join:
				if e.Host != s.Hosts {
					t.Errorf("%s: %+v is no new host", p.Name, e)
				}
			case die:
				if e.Host < 1 || e.Host >= s.Hosts {
					t.Errorf("%s: %+v cannot die", p.Name, e)
				}
			}
		}
		in := map[int]int{} // hosts by how much they have in the first network
		for _, e := range running {
			if e.Network == everywhere {
				in[e.Host]++
			}
			if e.Network == alone {
				t.Errorf("after %s %+v runs", p.Name, e)
			}
		}
		if len(in) != s.Hosts {
			t.Errorf("after %s %d of %d hosts have the first network", p.Name, len(in), s.Hosts)
		}
	}
	if len(running) < s.Endpoints/2 || len(running) > 2*s.Endpoints {
		t.Errorf("in the end %d run, and %d in the beginning", len(running), s.Endpoints)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	if err := some().check(); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*settings){
		"too few hosts":     func(s *settings) { s.Hosts = 2 },
		"too few networks":  func(s *settings) { s.Networks = 2 },
		"too few endpoints": func(s *settings) { s.Endpoints = 11 },
		"too many":          func(s *settings) { s.Endpoints = 1000 },
		"no time":           func(s *settings) { s.Lasts = 0 },
		"no rate":           func(s *settings) { s.Rate = 0 },
		"all is lost":       func(s *settings) { s.Loss = 100 },
	} {
		s := some()
		change(&s)
		if s.check() == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

package main

import "time"

// byOthers says how busy the machine was beside.
const byOthers = "CPU of other programs on this machine"

// note adds the figures of a phase that has used u.
func (s *simulation) note(p phase, u use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hosts := float64(len(s.cluster.living()))
	t := s.now
	if !p.Outage { // what ended servers have used is not known
		s.report.add(p.Name, byOthers, u.others.Seconds()/u.took.Seconds()*100, percent)
	}
	switch p.Name {
	case phaseFill:
		s.noteChanges(p.Name, t)
	case phaseIdle:
		s.idle = u
		s.noteRates(p.Name, u, hosts)
	case phaseEverywhere, phaseAlone:
		s.noteCosts(p.Name, u.beyond(s.idle), float64(len(t.changes)), hosts)
		s.noteChanges(p.Name, t)
	case phaseChurn:
		s.noteCosts(p.Name, u.beyond(s.idle), float64(len(t.changes)), hosts)
		s.noteRates(p.Name, u, hosts)
		s.noteChanges(p.Name, t)
	case phaseJoin:
		s.report.add(p.Name, "bytes from Consul to all hosts, beyond idle", u.beyond(s.idle).fromStore, size)
	case phaseOutage:
		s.report.add(p.Name, "length", p.Lasts.Seconds(), seconds)
		s.noteChanges(p.Name, t)
	}
}

// noteCosts adds what a change cost beyond what the idle cluster uses. The share of the
// host that made the change is in it.
func (s *simulation) noteCosts(phase string, u use, changes, hosts float64) {
	s.report.add(phase, "changes", changes, count)
	s.report.add(phase, "bytes from Consul per change, all hosts", u.fromStore/changes, size)
	s.report.add(phase, "bytes from Consul per change, one host", u.fromStore/changes/hosts, size)
	s.report.add(phase, "requests to Consul per change, all hosts", u.requests/changes, count)
	s.report.add(phase, "CPU per change, all hosts", u.self.Seconds()/changes, seconds)
	s.report.add(phase, "CPU per change, one host", u.self.Seconds()/changes/hosts, seconds)
	s.report.add(phase, "CPU of Consul per change", u.consul.Seconds()/changes, seconds)
	s.report.add(phase, "direct messages per change, all hosts", u.sent/changes, count)
}

// noteRates adds what was used in a second.
func (s *simulation) noteRates(phase string, u use, hosts float64) {
	in := u.took.Seconds()
	s.report.add(phase, "requests to Consul, all hosts", u.requests/in, perSec)
	s.report.add(phase, "bytes from Consul, all hosts", u.fromStore/in, sizeSec)
	s.report.add(phase, "CPU of Consul, three servers", u.consul.Seconds()/in*100, percent)
	s.report.add(phase, "CPU of one host", u.self.Seconds()/in*100/hosts, percent)
	s.report.add(phase, "direct messages sent, one host", u.sent/in/hosts, perSec)
	s.report.add(phase, "bytes of direct messages sent, one host", u.sentBytes/in/hosts, sizeSec)
	s.report.add(phase, "bytes of direct messages heard, one host", u.heard/in/hosts, sizeSec)
}

// noteChanges adds how starts and stops went.
func (s *simulation) noteChanges(phase string, t *tally) {
	var has, all, gone []time.Duration
	void := 0
	for _, c := range t.changes {
		c.mu.Lock()
		switch {
		case c.void:
			void++
		case c.kind == start:
			all = append(all, c.all)
			if c.anybody {
				has = append(has, c.has)
			}
		default:
			gone = append(gone, c.all)
		}
		c.mu.Unlock()
	}
	s.report.add(phase, "starts", float64(len(t.starts)), count)
	s.report.add(phase, "stops", float64(t.stops), count)
	s.report.add(phase, "starts that were refused", float64(t.refused), count)
	s.report.add(phase, "changes that were overtaken before all hosts knew them", float64(void), count)
	s.report.times(phase, "a start, for Docker", t.starts)
	s.report.times(phase, "from a start until all hosts with the network know it", has)
	s.report.times(phase, "from a start until all hosts know it", all)
	s.report.times(phase, "from a stop until all hosts know it", gone)
}

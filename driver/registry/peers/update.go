package peers

import (
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Updated is what Update or Read has changed besides.
type Updated struct {
	Ops   []kvstore.Op            // what makes the changes durable
	Left  map[string]overlay.Keys // by host that has left: the newest key that it can know
	Here  []string                // hosts that have not left
	Asked []string                // hosts that ask to probe paths
	News  []overlay.Attachment    // documents that were taken over, by Read
}

// Update takes over what the store's host/ records say of the other hosts by now.
func (p *Peers) Update(hosts map[string]record.HostUpdate, now time.Time) (Updated, error) {
	out := Updated{Left: map[string]overlay.Keys{}}
	for name, host := range hosts {
		if err := p.updateHost(name, host, p.reading.updates == 0, now, &out); err != nil {
			return Updated{}, err
		}
	}
	p.reading.updates++
	for name, host := range p.hosts {
		if _, still := hosts[name]; !still && (host.Live || host.Lease != 0 || host.Veto != record.Veto{}) {
			host.Live, host.Lease, host.Since = false, 0, now // absence of the record says no more than that
			host.Veto, host.unheard = record.Veto{}, now
			p.hosts[name] = host
		}
	}
	for name, host := range hosts {
		p.followed(host.Doc)
		if delete(p.reading.unread, name); len(p.reading.wantedOf(host.Doc)) > 0 {
			p.reading.unread[name] = p.reading.updates
		}
	}
	return out, nil
}

func (out *Updated) put(key string, v any) error {
	op, err := record.Put(key, v)
	out.Ops = append(out.Ops, op)
	return err
}

// updateHost takes over what the store says of one host.
func (p *Peers) updateHost(name string, u record.HostUpdate, first bool, now time.Time, out *Updated) error {
	old, known := p.hosts[name]
	host := Peer{HostDoc: u.Doc}
	if u.Unread {
		if !known {
			return nil
		}
		host = old // but for what its lease says
	}
	if host.Left {
		p.left[name] = true
		out.Left[name] = host.Keys
		out.Ops = append(out.Ops, p.drop(name)...)
		return nil
	}
	out.Here = append(out.Here, name)
	host.Live, host.Lease, host.Since, host.Down = u.Live, u.Lease, old.Since, old.Down && !u.Live
	host.marked = u.Marked
	host.Resting = old.Resting && !u.Live && host.Rests
	host.vacant, host.answers = p.vacantOf(host.HostDoc, now)
	if host.Veto, host.unheard = u.Veto, old.unheard; !known || old.Veto != u.Veto {
		host.unheard = now
	}
	if host.returning = (p.left[name] || u.Marked) && !u.Live; host.returning {
		p.left[name], host.Down = true, true
	} else {
		delete(p.left, name)
	}
	// A weft that says that it rests no more has all the time to get its lease.
	if !known || old.Live != u.Live || old.Lease != u.Lease || old.Rests && !host.Rests {
		host.Since = now
	}
	probe := host.Probe
	if host.Probe = 0; old.Incarnation == host.Incarnation {
		host.Probe = old.Probe
	}
	if _, asked := p.asked(&host, probe, old.Incarnation != host.Incarnation || first); asked {
		out.Asked = append(out.Asked, name)
	}
	if !known || old.Host != host.Host || old.Runs != host.Runs {
		if err := out.put(record.StateHost+name, host.HostDoc); err != nil {
			return err
		}
	}
	p.hosts[name] = host
	if u.Unread {
		return nil
	}
	for network := range p.docs[name] {
		if _, still := host.Digests[network]; !still && !p.outrunIn(host.HostDoc, network) {
			delete(p.docs[name], network)
			out.Ops = append(out.Ops, record.Delete(record.StateAttach+name+"/"+network))
		}
	}
	return nil
}

// drop forgets a host that has left, and gives the writes that make it durable.
func (p *Peers) drop(name string) []kvstore.Op {
	var ops []kvstore.Op
	for network := range p.docs[name] {
		ops = append(ops, record.Delete(record.StateAttach+name+"/"+network))
	}
	if _, known := p.hosts[name]; known {
		ops = append(ops, record.Delete(record.StateHost+name))
	}
	delete(p.docs, name)
	delete(p.hosts, name)
	delete(p.links, name)
	return ops
}

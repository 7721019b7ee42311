package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// What a run may have at once.
const (
	maxBoxes    = 16
	maxNetworks = 4
)

// rest is how long whatever was broken is left alone afterwards.
const rest = 5 * time.Second

// twinTime is how long a copy of a host waits for the end of the host's lease.
const twinTime = 30 * time.Second

// What faults of Consul are done to: the server that leads then, or all of them.
const (
	leader  = "consul's leader"
	servers = "consul"
)

// op is one drawn operation.
type op struct {
	n     int
	kind  kind
	pause time.Duration // before it, after the one before was begun
	host  string
	peer  string        // the other end of a cut
	net   string        // of a network's operation, run, connect and disconnect
	box   string        // a container's name
	args  []string      // more for create and run
	last  time.Duration // how long a fault lasts
	dice  uint64        // decides what the fault takes of what there is then
}

// String is the operation as a person would tell it.
func (o op) String() string {
	words := []string{o.host + "$", string(o.kind)}
	words = append(words, o.args...)
	for _, w := range []string{o.peer, o.net, o.box} {
		if w != "" {
			words = append(words, w)
		}
	}
	if o.last > 0 {
		words = append(words, "for", o.last.String())
	}
	return strings.Join(words, " ")
}

// keys are what the operation must have to itself: it waits for those before
// it that have one of them.
func (o op) keys() []string {
	switch o.kind {
	case createNetwork, removeNetwork:
		return []string{o.net}
	case runBox, stopBox, startBox, restartBox, killBox, removeBox, connectBox, disconnectBox:
		return []string{o.box}
	case killWeft, freezeWeft, restartWeft:
		return []string{o.host + "/weft"}
	case freezeDockerd:
		return []string{o.host + "/dockerd"}
	case killDockerd, restartDockerd, crashHost: // a host boots weft first
		return []string{o.host + "/weft", o.host + "/dockerd"}
	case killConsul, freezeConsul, restartConsul, wipeConsul, rewindConsul, cutLeader:
		return []string{servers}
	case cutStore, cutHosts:
		return []string{"cut " + o.host + o.peer}
	case renameHost, cloneHost, forgeMessages:
		return []string{o.host + "/weft"}
	case spoilStore:
		return []string{servers}
	case setBack, twinHost: // the store has to know the host, and goes on to
		return []string{o.host + "/weft", servers, "cut " + o.host + servers}
	}
	return nil
}

// script draws operations. It believes that all it has drawn has worked, so
// that the seed alone decides.
type script struct {
	rand     *rand.Rand
	hosts    []string
	config   Config
	n        int
	made     int                      // networks so far
	clock    time.Duration            // the pauses so far
	broken   map[string]time.Duration // by an operation's key: until when on the clock
	boxes    []*drawnBox
	networks []drawnNetwork
}

type drawnBox struct {
	name, host string
	nets       []string
	stopped    bool
	always     bool // Docker starts it again
}

type drawnNetwork struct {
	name string
	k    int // of its subnet; 0: automatic
}

func newScript(c Config, hosts []string) *script {
	return &script{
		broken: map[string]time.Duration{}, rand: rand.New(rand.NewPCG(c.Seed, 0x77656674)), hosts: hosts, config: c,
	}
}

// next draws the next operation.
func (s *script) next() op {
	s.n++
	if s.n <= 2 { // something to begin with
		return s.createNetwork(op{n: s.n, kind: createNetwork, host: s.host()})
	}
	for {
		o := op{n: s.n, host: s.host()}
		var longest time.Duration
		o.kind, longest = s.kind()
		switch {
		case s.rand.IntN(4) == 0: // a burst
		default:
			o.pause = time.Duration(s.rand.IntN(700)) * time.Millisecond
		}
		var ok bool
		if longest > 0 {
			o, ok = s.fault(o, longest)
		} else {
			o, ok = s.operation(o)
		}
		if ok {
			s.clock += o.pause
			return o
		}
	}
}

func (s *script) host() string { return s.hosts[s.rand.IntN(len(s.hosts))] }

// other is another host.
func (s *script) other(host string) string {
	i := slices.Index(s.hosts, host)
	return s.hosts[(i+1+s.rand.IntN(len(s.hosts)-1))%len(s.hosts)]
}

func (s *script) kind() (kind, time.Duration) {
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	r := s.rand.IntN(total)
	for _, w := range weights {
		if r -= w.weight; r < 0 {
			return w.kind, w.longest
		}
	}
	return runBox, 0
}

func (s *script) fault(o op, longest time.Duration) (op, bool) {
	o.last = time.Duration(s.rand.Int64N(int64(longest))).Round(10*time.Millisecond) + 10*time.Millisecond
	switch o.kind {
	case killConsul, freezeConsul, restartConsul:
		o.host = leader
	case cutLeader:
		if o.host = leader; s.config.Servers == 1 {
			return o, false
		}
	case wipeConsul:
		if o.host = servers; s.config.Servers > 1 && s.rand.IntN(2) == 0 {
			o.host = leader
		}
	case rewindConsul:
		o.host = servers
	case cutStore:
		o.peer = servers
	case cutHosts:
		o.peer = s.other(o.host)
	case renameHost:
		o.args = []string{[]string{o.host, "localhost", fmt.Sprintf("node%d", o.n)}[s.rand.IntN(3)]}
	case spoilStore:
		o.host, o.dice = servers, s.rand.Uint64()
	case forgeMessages:
		o.peer, o.dice = s.other(o.host), s.rand.Uint64()
	default:
	}
	for _, key := range o.keys() {
		if s.clock < s.broken[key] {
			return o, false
		}
	}
	for _, key := range o.keys() {
		s.broken[key] = s.clock + o.last + rest
		if o.kind == twinHost {
			s.broken[key] += twinTime
		}
	}
	if o.kind == killDockerd || o.kind == restartDockerd || o.kind == crashHost {
		for _, b := range s.boxes {
			b.stopped = b.stopped || b.host == o.host && !b.always && !s.config.LiveRestore
		}
	}
	return o, true
}

func (s *script) operation(o op) (op, bool) {
	switch o.kind {
	case createNetwork:
		if len(s.networks) >= maxNetworks {
			return o, false
		}
		return s.createNetwork(o), true
	case removeNetwork:
		if len(s.networks) < 2 {
			return o, false
		}
		i := s.rand.IntN(len(s.networks))
		o.net = s.networks[i].name
		used := slices.ContainsFunc(s.boxes, func(b *drawnBox) bool { return slices.Contains(b.nets, o.net) })
		if used && s.rand.IntN(4) > 0 { // it would stay, and there would be more and more
			return o, false
		}
		s.networks = slices.Delete(s.networks, i, i+1)
		return o, true
	case runBox:
		if len(s.boxes) >= maxBoxes || len(s.networks) == 0 {
			return o, false
		}
		return s.run(o), true
	default:
		return s.onBox(o)
	}
}

func (s *script) createNetwork(o op) op {
	s.made++
	n := drawnNetwork{name: fmt.Sprintf("net%d", s.made)}
	switch s.rand.IntN(4) {
	case 0, 1:
		n.k = s.made
		o.args = []string{"--subnet", fmt.Sprintf("10.77.%d.0/24", n.k)}
	case 2:
		n.k = s.made
		o.args = []string{"--ipv6", "--subnet", fmt.Sprintf("10.77.%d.0/24", n.k), "--subnet", fmt.Sprintf("fd77:%d::/64", n.k)}
	}
	o.net = n.name
	s.networks = append(s.networks, n)
	return o
}

func (s *script) run(o op) op {
	n := s.networks[s.rand.IntN(len(s.networks))]
	o.net, o.box = n.name, fmt.Sprintf("box%d", o.n)
	o.args = s.address(n)
	always := s.rand.IntN(3) == 0
	if always {
		o.args = append(o.args, "--restart", "always")
	}
	s.boxes = append(s.boxes, &drawnBox{name: o.box, host: o.host, always: always, nets: []string{n.name}})
	return o
}

// address is an address of the container's own choice, once in a while.
func (s *script) address(n drawnNetwork) []string {
	if n.k == 0 || s.rand.IntN(6) > 0 {
		return nil
	}
	return []string{"--ip", fmt.Sprintf("10.77.%d.%d", n.k, 200+s.rand.IntN(6))}
}

func (s *script) onBox(o op) (op, bool) {
	if len(s.boxes) == 0 {
		return o, false
	}
	i := s.rand.IntN(len(s.boxes))
	b := s.boxes[i]
	o.box, o.host = b.name, b.host
	switch o.kind {
	case stopBox, killBox, restartBox:
		if b.stopped {
			return o, false
		}
		b.stopped = o.kind != restartBox
	case startBox:
		if !b.stopped {
			return o, false
		}
		b.stopped = false
	case removeBox:
		s.boxes = slices.Delete(s.boxes, i, i+1)
	case connectBox:
		n := s.networks[s.rand.IntN(len(s.networks))]
		if slices.Contains(b.nets, n.name) {
			return o, false
		}
		b.nets = append(b.nets, n.name)
		o.net, o.args = n.name, s.address(n)
	case disconnectBox:
		if len(b.nets) == 0 {
			return o, false
		}
		j := s.rand.IntN(len(b.nets))
		o.net = b.nets[j]
		b.nets = slices.Delete(b.nets, j, j+1)
	default:
		return o, false
	}
	return o, true
}

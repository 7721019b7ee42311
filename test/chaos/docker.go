package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// slow is how long a Docker command may take while nothing is wrong with the
// host's weft and dockerd; patience is when it is given up.
const (
	slow     = 45 * time.Second
	patience = 90 * time.Second
)

// again is how often, and pause after what time, an operation is repeated that
// was refused for good reason: without that, most of what is drawn after a
// network that could not be made would come to nothing.
const (
	again = 6
	pause = 1500 * time.Millisecond
)

// docker does one operation with the docker command, and judges how it went.
func (r *runner) docker(ctx context.Context, o op) {
	r.begin(o)
	for try := 1; ; try++ {
		why := r.try(ctx, o)
		switch {
		case why != "weft away" && why != "store away" && why != "dockerd away" && why != "out of stock" && why != "network not there" && why != "record spoilt":
			return
		case try == again || o.kind == connectBox || o.kind == disconnectBox:
			return
		}
		time.Sleep(pause)
		if o.kind == runBox {
			r.try(ctx, op{n: o.n, kind: removeBox, host: o.host, box: o.box}) // run leaves what it could not start
		}
	}
}

// try does the operation once, and says "ok", why it failed, or "".
func (r *runner) try(ctx context.Context, o op) string {
	args := o.dockerArgs()
	cmd, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	_, err := r.Lab.Host(o.host).Docker(cmd, args...)
	ended := time.Now()
	took := ended.Sub(began).Round(time.Millisecond)
	text, why := "ok", "ok"
	if err != nil {
		text = complaint(err.Error())
		why = r.excuse(ctx, o, text, began, ended)
	}
	r.end(o, err, ended)
	r.history.note(began, "%s$ docker %s   %s: %s", o.host, strings.Join(args, " "), took, text)
	if why == "" {
		r.count("failed")
		r.history.fail(ended, "#%d %s: %s", o.n, o, text)
		return ""
	}
	r.count(why)
	if took > slow && !r.troubles.within(o.host+"/weft", began.Add(-5*time.Second), ended, 0) &&
		!r.troubles.within(o.host+"/dockerd", began, ended, 5*time.Second) {
		r.history.fail(ended, "#%d %s took %s while weft and dockerd were well", o.n, o, took)
	}
	return why
}

// dockerArgs is the operation as a command line.
func (o op) dockerArgs() []string {
	switch o.kind {
	case createNetwork:
		return slices.Concat([]string{"network", "create", "-d", "weft", "--ipam-driver", "weft"}, o.args, []string{o.net})
	case removeNetwork:
		return []string{"network", "rm", o.net}
	case runBox:
		return slices.Concat([]string{"run", "-d", "--name", o.box, "--network", o.net}, o.args, []string{"busybox", "sleep", "100000"})
	case stopBox:
		return []string{"stop", "-t", "1", o.box}
	case restartBox:
		return []string{"restart", "-t", "1", o.box}
	case removeBox:
		return []string{"rm", "-f", o.box}
	case connectBox:
		return slices.Concat([]string{"network", "connect"}, o.args, []string{o.net, o.box})
	case disconnectBox:
		return []string{"network", "disconnect", o.net, o.box}
	default:
		return []string{string(o.kind), o.box}
	}
}

func (r *runner) begin(o op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o.kind {
	case createNetwork:
		r.networks[o.net] = &networkFate{host: o.host}
	case removeNetwork:
		r.networks[o.net].removing = time.Now()
	case runBox:
		r.boxes[o.box] = &boxFate{host: o.host, nets: []string{o.net}, since: time.Now(), explicit: slices.Contains(o.args, "--ip")}
	case connectBox:
		if b := r.boxes[o.box]; b != nil {
			b.nets = append(b.nets, o.net)
			b.explicit = b.explicit || slices.Contains(o.args, "--ip")
		}
	default:
	}
}

func (r *runner) end(o op, err error, ended time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.kind == createNetwork && err == nil {
		r.networks[o.net].created = ended
	} else if o.kind == createNetwork {
		r.networks[o.net].tried = true
	}
	if b := r.boxes[o.box]; b != nil && err != nil {
		b.doubtful = true
	}
}

// excuse says why the operation may have failed, or "".
func (r *runner) excuse(ctx context.Context, o op, text string, began, ended time.Time) string {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	troubled := func(what string, grace time.Duration) bool {
		return r.troubles.within(o.host+"/"+what, began, ended, grace)
	}
	r.mu.Lock()
	var box boxFate
	if b := r.boxes[o.box]; b != nil {
		box = *b
	}
	var net networkFate
	if n := r.networks[o.net]; n != nil {
		net = *n
	}
	removed := slices.ContainsFunc(box.nets, func(name string) bool {
		n := r.networks[name]
		return n != nil && !n.removing.IsZero() && n.removing.Before(ended)
	})
	// Docker connects a container that does not run to whatever name it is given.
	absent := slices.ContainsFunc(box.nets, func(name string) bool {
		n := r.networks[name]
		return n != nil && has("network "+name+" not found") && r.unsettled(o, *n, ended)
	})
	r.mu.Unlock()
	switch {
	case troubled("dockerd", 3*time.Second):
		return "dockerd away"
	case troubled("weft", time.Second):
		return "weft away"
	case o.kind == createNetwork && net.tried && has("overlaps"):
		return "half made before" // for a minute; no two networks of a run have one subnet
	case o.kind == removeNetwork && has("has active endpoints"):
		return "network in use"
	case o.net != "" && has("not found", "No such network") && !has("endpoint") && r.unsettled(o, net, ended):
		return "network not there"
	case absent && (o.kind == startBox || o.kind == restartBox):
		return "network not there"
	case o.net != "" && !net.removing.IsZero() && net.removing.Before(ended),
		removed && (o.kind == startBox || o.kind == restartBox):
		return "network being removed"
	case box.explicit && has("in use"),
		box.explicit && has("is taken in this network by container") && troubled("store", 20*time.Second): // it was wiped
		return "address in use"
	case has("no address left in stock") && troubled("store", 10*time.Second):
		if n := r.stock(ctx, o); n > 1 {
			r.history.fail(ended, "#%d %s: refused for want of stock while there are %d", o.n, o, n)
		}
		return "out of stock"
	case has("store") && troubled("store", 10*time.Second),
		has("the store has lost data") && troubled("store", 75*time.Second): // hosts that do not record again are waited for
		return "store away"
	case has("weft does not know Docker's network") && troubled("state", healTime):
		return "network forgotten" // with the disk, until Docker has been asked, which may be away itself
	case has("state was lost or set aside") && troubled("state", healTime):
		return "state made again"
	case has("record") && troubled("records", 10*time.Second):
		return "record spoilt"
	case o.box != "" && (box.doubtful || r.troubles.within(o.host+"/dockerd", box.since, ended, 0)) &&
		has("No such container", "is not running", "not connected", "already", "No such", "marked for removal", "not found", "cannot join network of a non running"):
		return "container not as drawn"
	case has("error during container init: %!w(<nil>)"):
		return "runc's own" // it lost a race with itself, and has no reason to give
	case o.kind == removeBox && has("is already in progress"):
		return "container not as drawn"
	}
	return ""
}

// unsettled says whether the network may be absent on the operation's host: it
// was never made, somebody removes it, or it is too new for what was wrong.
func (r *runner) unsettled(o op, n networkFate, ended time.Time) bool {
	if n.created.IsZero() || !n.removing.IsZero() {
		return true
	}
	if ended.Sub(n.created) < 5*time.Second {
		return true
	}
	for _, host := range []string{o.host, n.host} {
		for _, what := range []string{"/weft", "/dockerd", "/store"} {
			if r.troubles.within(host+what, n.created.Add(-5*time.Second), ended, 0) {
				return true
			}
		}
	}
	return false
}

// stock is what the host says it has in stock in the operation's network.
func (r *runner) stock(ctx context.Context, o op) int {
	detail, err := r.cluster.Control(o.host).Network(ctx, o.net)
	if err != nil {
		return 0
	}
	for _, on := range detail.On {
		if on.Host == o.host {
			return len(on.Stock)
		}
	}
	return 0
}

// complaint is what the docker command says, without the command and its help.
func complaint(s string) string {
	if _, said, ok := strings.Cut(s, "exit status "); ok {
		s = "exit status " + said
	}
	var out []string
	for l := range strings.Lines(s) {
		l = strings.TrimSpace(l)
		if l != "" && !strings.HasPrefix(l, "See '") && !strings.HasPrefix(l, "Run 'docker") {
			out = append(out, l)
		}
	}
	return fmt.Sprintf("%.800s", strings.Join(out, " | "))
}

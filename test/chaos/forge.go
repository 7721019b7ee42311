package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// metrics is where each weft of the lab shows what it counts.
const metrics = "127.0.0.1:9477"

// forge sends the host what it must not take, all that is about its peer from the
// peer's own address: messages that nobody has sealed, that nobody has signed, that
// another member has signed, that a former member has signed, and old ones. Nothing
// may come of it.
func (r *runner) forge(ctx context.Context, o op) error {
	target, victim, former := r.Lab.Host(o.host), r.Lab.Host(o.peer), r.Lab.Host(r.Spare)
	began := time.Now()
	rnd := rand.New(rand.NewPCG(o.dice, 0)) //nolint:gosec // a seed can be repeated
	f, err := r.forger(ctx)
	if err != nil {
		r.history.note(began, "nothing to forge with: %v", err)
		return nil //nolint:nilerr // the store is what is wrong at this moment
	}
	doc, err := r.hostDoc(ctx, o.peer)
	if err != nil {
		r.history.note(began, "nothing known to forge: %v", err)
		return nil //nolint:nilerr // as above
	}
	before, counted := r.refused(ctx, target)

	noise := make([]byte, 40+rnd.IntN(1000))
	for i := range noise {
		noise[i] = byte(rnd.IntN(256)) //nolint:gosec // a byte
	}
	noise[0] = 1
	all := [][]byte{noise}
	unsigned, another := f, f
	another.signer = r.keys[o.host]
	for _, f := range []forger{unsigned, another} {
		for _, m := range []map[string]any{doc.lastWord(), doc.withdrawal(rnd)} {
			sealed, err := f.seal(m, "datagram")
			if err != nil {
				return err
			}
			all = append(all, sealed)
		}
	}
	if err := send(ctx, victim, target, all...); err != nil {
		return err
	}
	one := f
	one.signer = r.keys[r.Spare]
	sealed, err := one.seal(hostDoc{Name: r.Spare, Incarnation: "0123456789ab", Runs: 1}.lastWord(), "datagram")
	if err != nil {
		return err
	}
	if err := send(ctx, former, target, sealed); err != nil {
		return err
	}
	all = append(all, sealed)
	old := r.ears.heard(o.peer, o.host)
	if err := send(ctx, victim, target, old...); err != nil {
		return err
	}
	question := map[string]any{"k": "want", "h": o.peer, "i": doc.Incarnation}
	for _, f := range []forger{unsigned, another} {
		if answers, err := f.answered(ctx, victim, target, question); err != nil || answers {
			return fmt.Errorf("a question of %s that it has not signed was answered: %v (%w)", o.peer, answers, err)
		}
	}
	r.history.note(began, "%d messages to %s are forged for %s, and %d are old", len(all), o.host, o.peer, len(old))
	if !counted || !r.quiet(o, began) {
		return nil
	}
	return r.unmoved(ctx, o, began, before+uint64(len(all)))
}

// genuine makes sure that what forge makes would be taken if its host had signed it.
func (r *runner) genuine(ctx context.Context) error {
	hosts := r.cluster.Hosts()
	target, victim := hosts[0], hosts[1]
	f, err := r.forger(ctx)
	if err != nil {
		return err
	}
	doc, err := r.hostDoc(ctx, victim.Name())
	if err != nil {
		return err
	}
	f.signer = r.keys[victim.Name()]
	answers, err := f.answered(ctx, victim, target, map[string]any{"k": "want", "h": victim.Name(), "i": doc.Incarnation})
	if err == nil && !answers {
		err = errors.New("a question that its host has signed was not answered, so forged ones would test nothing")
	}
	return err
}

// quiet says that nothing was wrong between the two hosts since then.
func (r *runner) quiet(o op, since time.Time) bool {
	for _, what := range []string{o.host + "/weft", o.peer + "/weft", way(o.host, o.peer)} {
		if r.troubles.within(what, since, time.Now(), 15*time.Second) {
			return false
		}
	}
	return true
}

// unmoved waits until the target has counted what was forged as refused, and takes
// the peer for alive.
func (r *runner) unmoved(ctx context.Context, o op, began time.Time, refused uint64) error {
	why := ""
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		why = ""
		if n, ok := r.refused(ctx, r.Lab.Host(o.host)); ok && n < refused {
			why = fmt.Sprintf("%s has refused %d messages, which is less than %d", o.host, n, refused)
		}
		hosts, err := r.cluster.Control(o.host).Hosts(ctx)
		if err != nil {
			why = err.Error()
		}
		for _, h := range hosts {
			if h.Name == o.peer && h.Silent {
				why = o.host + " takes " + o.peer + " for silent"
			}
		}
		if why == "" || !r.quiet(o, began) {
			return nil
		}
	}
	return fmt.Errorf("after forged messages %s", why)
}

// refused is how many datagrams the host's weft has refused; false if it does not say.
func (r *runner) refused(ctx context.Context, h *lab.Host) (uint64, bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+"/metrics", nil)
	if err != nil {
		return 0, false
	}
	text, err := h.Do(req)
	if err != nil {
		return 0, false
	}
	_, rest, ok := strings.Cut(string(text), `weft_push_datagrams_total{what="refused"} `)
	number, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(number, 64)
	return uint64(n), ok && err == nil
}

// hostDoc is what the store has of a host, as far as it can be forged.
type hostDoc struct {
	Name        string            `json:"name"`
	Incarnation string            `json:"inc"`
	Runs        uint64            `json:"runs"`
	Seq         uint64            `json:"seq"`
	Digests     map[string]string `json:"digests"` // by network
}

func (r *runner) hostDoc(ctx context.Context, host string) (d hostDoc, err error) {
	c, err := r.leading(ctx)
	if err != nil {
		return d, err
	}
	text, err := c.Request(ctx, http.MethodGet, "/v1/kv/weft/host/"+host+"/doc?raw", nil)
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	return d, err
}

// lastWord is the beat with which a host says that its machine goes down.
func (d hostDoc) lastWord() map[string]any {
	return map[string]any{"k": "beat", "h": d.Name, "i": d.Incarnation, "n": d.Runs<<32 + 1<<20, "s": d.Seq, "ok": true, "r": true, "w": true}
}

// withdrawal says that a host has left one of its networks.
func (d hostDoc) withdrawal(rnd *rand.Rand) map[string]any {
	network, skip := "", rnd.IntN(max(len(d.Digests), 1))
	for id := range d.Digests {
		if network = id; skip == 0 {
			break
		}
		skip--
	}
	return map[string]any{"k": "delta", "h": d.Name, "i": d.Incarnation, "d": map[string]any{
		"network": network, "host": d.Name, "inc": d.Incarnation, "seq": d.Seq + 1, "gone": true,
	}}
}

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/registry/spoilt"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/test/lab"
)

// mostSpoilt is how many records one fault spoils at most; tellTime is after what
// time a host tells of one that it follows.
const (
	mostSpoilt = 3
	tellTime   = 15 * time.Second
)

// A cure is what ends the harm to a record.
type cure int

const (
	putBack cure = iota // if nobody has written it since
	remove              // as weft doctor says of a record that a host names: what weft knows of it, it writes again
	leave               // to the host whose record it is
)

// broken is one record that is broken.
type broken struct {
	key   string
	was   []byte // nil: there was none
	index uint64 // of the broken one
	cure  cure
}

// spoil breaks some records of the store, waits until a host tells of those that all
// hosts follow, and gives what puts them right.
func (r *runner) spoil(ctx context.Context, o op) (undo func() error, err error) {
	c, err := r.awaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	rnd := rand.New(rand.NewPCG(o.dice, 0)) //nolint:gosec // a seed can be repeated
	records, err := r.cluster.Records(ctx)
	if err != nil {
		return nil, err
	}
	// What follows from a broken epoch or identity is for tests that wait for it.
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(records)), func(k string) bool {
		return k == "meta" || k == "net/.epoch" || strings.HasSuffix(k, "/live")
	})
	var all []broken
	undo = func() error {
		var err error
		for _, b := range slices.Backward(all) { // of two for one key the first knows what it was
			err = errors.Join(err, r.mend(ctx, b))
		}
		return err
	}
	for range 1 + rnd.IntN(mostSpoilt) {
		key := keys[rnd.IntN(len(keys))]
		b := broken{cure: cure(rnd.IntN(3))}
		var value string
		for !writable(b.key) {
			b.key, value = spoilt.Broken(rnd, key, string(records[key]))
		}
		b.was = records[b.key]
		if b.cure == leave && !r.owned(b.key) {
			b.cure = putBack
		}
		if _, err := c.Request(ctx, http.MethodPut, keyPath(b.key), []byte(value)); err != nil {
			return undo, err
		}
		if b.index, err = index(ctx, c, b.key); err != nil {
			return undo, err
		}
		r.history.note(time.Now(), "%s is %.60q now, and was %.200q (cure %d)", b.key, value, b.was, b.cure)
		all = append(all, b)
	}
	return undo, r.told(ctx, c, all)
}

// owned says whether the record is one that its host writes again by itself.
func (r *runner) owned(key string) bool {
	return slices.ContainsFunc(r.cluster.Hosts(), func(h *lab.Host) bool {
		return key == "host/"+h.Name()+"/doc" || strings.HasPrefix(key, "at/"+h.Name()+"/")
	})
}

// told waits until each broken record below host/ and net/ was mended, or a host to
// which nothing else happens names it.
func (r *runner) told(ctx context.Context, c *lab.Consul, all []broken) error {
	began := time.Now()
	var missing []string
	for time.Since(began) < tellTime && ctx.Err() == nil {
		missing = nil
		for _, h := range r.cluster.Hosts() {
			s, err := r.cluster.Control(h.Name()).Status(ctx)
			if err != nil || r.disturbed(h.Name(), began) {
				continue
			}
			for _, b := range all {
				now, err := index(ctx, c, b.key)
				if err != nil || now != b.index || !strings.HasPrefix(b.key, "host/") && !strings.HasPrefix(b.key, "net/") {
					continue
				}
				if !names(s, b.key) {
					missing = append(missing, fmt.Sprintf("%s does not tell of %q", h.Name(), b.key))
				}
			}
		}
		if missing == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return errors.New(strings.Join(missing, ", "))
}

// names says whether the host passes the record over.
func names(s control.Status, key string) bool {
	key = strings.ToValidUTF8(key, "\ufffd") // JSON has no other bytes
	return slices.ContainsFunc(s.Skipped, func(k skipped.Record) bool { return k.Key == key })
}

// named says whether a host passes the record over.
func (r *runner) named(ctx context.Context, key string) bool {
	return slices.ContainsFunc(r.cluster.Hosts(), func(h *lab.Host) bool {
		s, err := r.cluster.Control(h.Name()).Status(ctx)
		return err == nil && names(s, key)
	})
}

// disturbed says whether something was wrong with the host's weft or its way to the
// store since then, or shortly before.
func (r *runner) disturbed(host string, since time.Time) bool {
	return slices.ContainsFunc([]string{"/weft", "/store"}, func(what string) bool {
		return r.troubles.within(host+what, since, time.Now(), 20*time.Second)
	})
}

// mend ends the harm to one record, if nobody has written it since.
func (r *runner) mend(ctx context.Context, b broken) error {
	if b.cure == leave {
		return nil
	}
	c, err := r.awaitLeader(ctx)
	if err != nil {
		return err
	}
	method, value := http.MethodPut, b.was
	// Addresses and pools are compared every five minutes. Nobody deletes one that no
	// host has named yet, and then no host looks whether it is there before that.
	unseen := (strings.HasPrefix(b.key, "addr/") || strings.HasPrefix(b.key, "pool/")) && !r.named(ctx, b.key)
	if b.cure == remove && !unseen || b.was == nil {
		method, value = http.MethodDelete, nil
	}
	done, err := c.Request(ctx, method, keyPath(b.key)+fmt.Sprintf("?cas=%d", b.index), value)
	r.history.note(time.Now(), "%s is mended (cure %d): %s", b.key, b.cure, strings.TrimSpace(string(done)))
	return err
}

// index is the number of the record's last change, 0 if there is none.
func index(ctx context.Context, c *lab.Consul, key string) (uint64, error) {
	text, err := c.Request(ctx, http.MethodGet, keyPath(key)+"?consistent", nil)
	if err != nil && strings.Contains(err.Error(), "404") {
		return 0, nil
	}
	var pairs []struct{ ModifyIndex uint64 }
	if err == nil {
		err = json.Unmarshal(text, &pairs)
	}
	if err != nil || len(pairs) == 0 {
		return 0, fmt.Errorf("read %q: %w", key, err)
	}
	return pairs[0].ModifyIndex, nil
}

// writable says whether Consul's API takes the key: a path of HTTP's keeps no empty
// part, and Consul refuses what cannot be printed and spaces at the ends.
func writable(key string) bool {
	return key != "" && !strings.Contains(key, "//") && key == strings.TrimSpace(key) &&
		!strings.ContainsFunc(key, func(c rune) bool { return !unicode.IsPrint(c) })
}

func keyPath(key string) string { return (&url.URL{Path: "/v1/kv/weft/" + key}).EscapedPath() }

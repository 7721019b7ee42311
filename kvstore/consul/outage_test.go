package consul_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// limit is what no call may take longer than: its own 3 s and some for a busy
// machine.
const limit = 4 * time.Second

// world is what one Wait gave.
type world struct {
	pairs    []kvstore.Pair
	revision uint64
	err      error
}

func wait(ctx context.Context, s kvstore.Store, prefix string, revision uint64) <-chan world {
	c := make(chan world, 1)
	go func() {
		pairs, next, err := s.Wait(ctx, prefix, revision)
		c <- world{pairs, next, err}
	}()
	return c
}

// hold starts one Hold of key "h".
func hold(ctx context.Context, s kvstore.Store) (held chan struct{}, done chan error) {
	return holdAs(ctx, s, "me")
}

func holdAs(ctx context.Context, s kvstore.Store, value string) (held chan struct{}, done chan error) {
	held, done = make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- s.Hold(ctx, "outage", "h", []byte(value), 10*time.Second, func() { held <- struct{}{} })
	}()
	return held, done
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, kvstore.ErrUnavailable) {
		t.Errorf("%s = %v, want ErrUnavailable", what, err)
	}
}

// A Wait ends with the server, and everything works again once that is back.
func TestKilledDuringWait(t *testing.T) {
	t.Parallel()
	srv := consultest.Start(t)
	s := open(t, config(t, srv.Addr))
	txn(t, s, set("p/x", "1"))
	_, revision, err := s.List(t.Context(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	c := wait(t.Context(), s, "p/", revision)
	time.Sleep(100 * time.Millisecond)
	srv.Kill()
	wantUnavailable(t, "Wait at the server's end", receive(t, "Wait", c, limit).err)
	start := time.Now()
	_, err = s.Get(t.Context(), "p/x")
	wantUnavailable(t, "Get without a server", err)
	_, err = s.Txn(t.Context(), set("p/x", "2"))
	wantUnavailable(t, "Txn without a server", err)
	wantUnavailable(t, "Hold without a server", s.Hold(t.Context(), "outage", "h", nil, 0, nil))
	if d := time.Since(start); d > limit {
		t.Errorf("three calls without a server took %v", d)
	}
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Get after the restart", limit, func() bool {
		p, err := s.Get(t.Context(), "p/x")
		return err == nil && string(p.Value) == "1"
	})
	_, revision, err = s.List(t.Context(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	c = wait(t.Context(), s, "p/", revision)
	txn(t, s, set("p/x", "3"))
	if w := receive(t, "Wait", c, limit); w.err != nil || string(w.pairs[0].Value) != "3" {
		t.Errorf("Wait after the restart = %+v", w)
	}
}

// A server that starts again shows all that was written before, or nothing.
func TestNothingOfThePastAfterARestart(t *testing.T) {
	t.Parallel()
	srv := consultest.Start(t)
	s := open(t, config(t, srv.Addr))
	for i := range 400 { // it takes some 200 ms to replay so many
		var ops []kvstore.Op
		for j := range kvstore.MaxOps {
			ops = append(ops, set(fmt.Sprintf("q/%d/%d", i, j), "1"))
		}
		txn(t, s, ops...)
	}
	txn(t, s, set("p/x", "last"))
	var readers sync.WaitGroup
	var good, old atomic.Int64
	ctx, end := context.WithCancel(t.Context())
	look := func(value string, err error) {
		switch {
		case err == nil && value == "last":
			good.Add(1)
		case err == nil || errors.Is(err, kvstore.ErrNotFound):
			old.Add(1)
		default:
			time.Sleep(time.Millisecond)
		}
	}
	for range 20 {
		readers.Go(func() {
			for ctx.Err() == nil {
				p, err := s.Get(ctx, "p/x")
				look(string(p.Value), err)
				pairs, _, err := s.List(ctx, "p/")
				look(string(append(pairs, kvstore.Pair{})[0].Value), err)
			}
		})
	}
	if err := srv.Restart(); err != nil {
		t.Error(err)
	}
	eventually(t, "reads after the restart", 10*time.Second, func() bool { return good.Load() > 100 })
	end()
	readers.Wait()
	if old.Load() > 0 {
		t.Errorf("%d reads showed what is written, and %d something of before", good.Load(), old.Load())
	}
}

// A Hold outlives the server's restart.
func TestKilledDuringHold(t *testing.T) {
	t.Parallel()
	srv := consultest.Start(t)
	var count requests
	cfg := config(t, srv.Addr)
	cfg.OnRequest = count.on
	s := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held, done := hold(ctx, s)
	receive(t, "held", held, limit)
	srv.Kill()
	eventually(t, "a renewal fails", 10*time.Second, func() bool {
		count.mu.Lock()
		defer count.mu.Unlock()
		return count.errs["renew"] > 0
	})
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	before := count.of("get")
	eventually(t, "renewed again", 30*time.Second, func() bool { return count.of("get") > before })
	p, err := s.Get(t.Context(), "h")
	if err != nil || !p.Held || len(done) != 0 {
		t.Errorf("after the restart: %+v, %v, %d ended, want held", p, err, len(done))
	}
	cancel()
	if err := receive(t, "Hold", done, limit); err != nil {
		t.Error(err)
	}
	if p, err := s.Get(t.Context(), "h"); err != nil || p.Held {
		t.Errorf("after the end: %+v, %v, want not held", p, err)
	}
}

// After Consul has lost everything, a follower sees the smaller world within
// 5 s of its return, Hold ends and can be called again, and a Wait with a
// former index does not stay blind.
func TestWiped(t *testing.T) {
	t.Parallel()
	srv := consultest.Start(t)
	s := open(t, config(t, srv.Addr))
	held, done := hold(t.Context(), s)
	receive(t, "held", held, limit)
	for _, v := range []string{"1", "2", "3"} { // a high index
		txn(t, s, set("p/x", v), set("p/y", v))
	}
	ctx, cancel := context.WithCancel(t.Context())
	worlds := make(chan []kvstore.Pair, 100)
	followed := make(chan error, 1)
	go func() {
		followed <- kvstore.Follow(ctx, s, "p/", 0, func(error) {}, func(p []kvstore.Pair) error { worlds <- p; return nil })
	}()
	if w := receive(t, "follower", worlds, limit); len(w) != 2 {
		t.Fatalf("follower has %+v", w)
	}
	_, old, err := s.List(t.Context(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Restart(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	// Someone who waited for nothing while Consul was away.
	blind := wait(t.Context(), s, "p/", old+1000)
	if w := receive(t, "follower after the loss", worlds, 5*time.Second); len(w) != 0 {
		t.Errorf("follower after the loss has %+v", w)
	}
	t.Logf("follower: %v after the return", time.Since(start))
	if err := receive(t, "Hold after the loss", done, 5*time.Second); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("Hold after the loss = %v, want ErrConflict", err)
	}
	if w := receive(t, "Wait with an old index", blind, 5*time.Second); w.err == nil && len(w.pairs) != 0 {
		t.Errorf("Wait with an old index = %+v", w)
	}
	t.Logf("all: %v after the return", time.Since(start))
	again, ended := hold(ctx, s)
	receive(t, "held again", again, limit)
	cancel()
	for what, c := range map[string]chan error{"Hold": ended, "Follow": followed} {
		if err := receive(t, what, c, limit); err != nil {
			t.Errorf("%s = %v", what, err)
		}
	}
}

// A Wait shows at once what a snapshot has that is restored meanwhile.
func TestRestoredDuringWait(t *testing.T) {
	t.Parallel()
	srv := consultest.Start(t)
	s := open(t, config(t, srv.Addr))
	client, err := api.NewClient(&api.Config{Address: srv.Addr})
	if err != nil {
		t.Fatal(err)
	}
	txn(t, s, set("p/x", "1"))
	snapshot, _, err := client.Snapshot().Save(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	txn(t, s, set("p/x", "2"), set("p/y", "2"))
	_, revision, err := s.List(t.Context(), "p/")
	if err != nil {
		t.Fatal(err)
	}
	c := wait(t.Context(), s, "p/", revision)
	time.Sleep(100 * time.Millisecond)
	if err := client.Snapshot().Restore(nil, snapshot); err != nil {
		t.Fatal(err)
	}
	w := receive(t, "Wait", c, limit)
	if w.err != nil || len(w.pairs) != 1 || string(w.pairs[0].Value) != "1" {
		t.Errorf("Wait = %v (%v), want what the snapshot has", w.pairs, w.err)
	}
}

// A server that keeps its connections and answers nothing.
func TestFrozen(t *testing.T) {
	t.Parallel()
	srv := consultest.Start(t)
	s := open(t, config(t, srv.Addr))
	txn(t, s, set("x", "1"))
	srv.Freeze()
	for what, call := range map[string]func() error{
		"Get":  func() error { _, err := s.Get(t.Context(), "x"); return err },
		"List": func() error { _, _, err := s.List(t.Context(), ""); return err },
		"Txn":  func() error { _, err := s.Txn(t.Context(), set("x", "2")); return err },
	} {
		start := time.Now()
		wantUnavailable(t, what, call())
		if d := time.Since(start); d > limit {
			t.Errorf("%s took %v", what, d)
		}
	}
	srv.Thaw()
	eventually(t, "Get after thawing", limit, func() bool { _, err := s.Get(t.Context(), "x"); return err == nil })
}

// With several servers, calls go to the next when one refuses connections or
// does not answer, and stay with the one that works.
func TestNextServer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // its connections are never accepted
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = refusing.Close()
	for what, bad := range map[string]net.Listener{"silent": silent, "refusing": refusing} {
		t.Run(what, func(t *testing.T) {
			var count requests
			cfg := config(t, bad.Addr().String(), bad.Addr().String(), shared.Addr)
			cfg.OnRequest = count.on
			s := open(t, cfg)
			start := time.Now()
			if _, _, err := s.List(t.Context(), ""); err != nil {
				t.Errorf("List = %v", err)
			}
			if d := time.Since(start); d > limit {
				t.Errorf("List took %v", d)
			}
			if n := count.of("list"); n != 3 {
				t.Errorf("%d requests, want 3", n)
			}
			start = time.Now()
			if _, _, err := s.List(t.Context(), ""); err != nil {
				t.Errorf("List again = %v", err)
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("List again took %v", d)
			}
		})
	}
}

// proxy stands between a Store and a server. It can be cut off, and it can lose
// answers.
type proxy struct {
	*httptest.Server
	asked atomic.Int64 // requests

	mu   sync.Mutex
	lose int // answers to transactions
	cut  bool
}

func newProxy(t *testing.T, backend string) *proxy {
	p := &proxy{}
	client := &http.Client{Transport: &http.Transport{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		p.mu.Lock()
		cut := p.cut
		p.mu.Unlock()
		if cut {
			panic(http.ErrAbortHandler)
		}
		r.RequestURI, r.URL.Scheme, r.URL.Host = "", "http", backend
		resp, err := client.Do(r)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		p.mu.Lock()
		lost := r.URL.Path == "/v1/txn" && p.lose > 0
		if lost {
			p.lose--
		}
		p.mu.Unlock()
		if lost {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	t.Cleanup(func() { p.Close(); client.CloseIdleConnections() })
	return p
}

func (p *proxy) set(f func(*proxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// An answer that is lost does not become a conflict with oneself.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	p := newProxy(t, shared.Addr)
	s := open(t, config(t, p.Listener.Addr().String(), shared.Addr))
	if _, err := s.Get(t.Context(), "x"); !errors.Is(err, kvstore.ErrNotFound) {
		t.Fatal(err)
	}
	p.set(func(p *proxy) { p.lose = 1 })
	_, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.CAS, Key: "x"})
	wantUnavailable(t, "CAS whose answer is lost", err)
	if _, err := s.Get(t.Context(), "x"); err != nil {
		t.Errorf("Get = %v, want the CAS to have happened", err)
	}
	s = open(t, config(t, p.Listener.Addr().String(), shared.Addr))
	p.set(func(p *proxy) { p.lose = 1 })
	if _, err := s.Txn(t.Context(), set("y", "1")); err != nil {
		t.Errorf("Set whose answer is lost = %v, want it to be sent again", err)
	}
}

// A holder that cannot reach Consul lets go within 2 x ttl, and learns of it
// when it can again.
func TestHolderCutOff(t *testing.T) {
	t.Parallel()
	p := newProxy(t, shared.Addr)
	cfg := config(t, p.Listener.Addr().String())
	s := open(t, cfg)
	held, done := hold(t.Context(), s)
	receive(t, "held", held, limit)
	other := open(t, by(cfg, shared.Addr))
	second, end := context.WithCancel(t.Context())
	defer end()
	heldToo, doneToo := holdAs(second, other, "another")
	p.set(func(p *proxy) { p.cut = true })
	start := time.Now()
	receive(t, "the second holder", heldToo, 25*time.Second)
	t.Logf("let go %v after the cut", time.Since(start))
	if len(done) != 0 {
		t.Errorf("Hold ended while cut off: %v", <-done)
	}
	p.set(func(p *proxy) { p.cut = false })
	if err := receive(t, "Hold", done, limit); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("Hold = %v, want ErrConflict", err)
	}
	if pair, err := other.Get(t.Context(), "h"); err != nil || !pair.Held {
		t.Errorf("the end of the first took the key from the second: %+v, %v", pair, err)
	}
	end()
	if err := receive(t, "Hold", doneToo, limit); err != nil {
		t.Error(err)
	}
}

// A process that was killed leaves its lease behind; the next one, with the same
// value, does not wait for its end. One that has held the key itself does: what
// holds it then is no earlier process's.
func TestHoldOfAnEarlierProcess(t *testing.T) {
	t.Parallel()
	cfg := config(t, shared.Addr)
	killed, again := open(t, cfg), open(t, cfg)
	_, lost := hold(t.Context(), killed)
	eventually(t, "the first holds", limit, func() bool {
		pair, err := again.Get(t.Context(), "h")
		return err == nil && pair.Held
	})
	held, done := hold(t.Context(), again)
	receive(t, "the next process", held, limit)
	if err := receive(t, "Hold of the earlier one", lost, limit); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("Hold of the earlier one = %v, want ErrConflict", err)
	}
	ctx, end := context.WithTimeout(t.Context(), time.Second)
	defer end()
	if _, waits := hold(ctx, killed); receive(t, "Hold again", waits, limit) != nil || len(done) != 0 {
		t.Error("who has held the key before took it from its holder")
	}
}

// Whatever a server refuses with becomes one of kvstore's errors.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{
		http.StatusTooManyRequests:       kvstore.ErrUnavailable, // rate limit, of reads and connections
		http.StatusServiceUnavailable:    kvstore.ErrUnavailable, // rate limit, of writes
		http.StatusInternalServerError:   kvstore.ErrUnavailable, // no leader
		http.StatusForbidden:             kvstore.ErrDenied,
		http.StatusUnauthorized:          kvstore.ErrDenied,
		http.StatusRequestEntityTooLarge: kvstore.ErrInvalid,
		http.StatusBadGateway:            kvstore.ErrUnavailable,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the reason", status)
		}))
		s := open(t, config(t, srv.Listener.Addr().String()))
		_, err := s.Get(t.Context(), "x")
		_, _, lerr := s.List(t.Context(), "x")
		_, _, werr := s.Wait(t.Context(), "x", 1)
		_, terr := s.Txn(t.Context(), set("x", "1"))
		_, cerr := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.CAS, Key: "x"})
		herr := s.Hold(t.Context(), "me", "x", nil, 0, nil)
		for _, err := range []error{err, lerr, werr, terr, cerr, herr} {
			if !errors.Is(err, want) {
				t.Errorf("status %d = %v, want %v", status, err, want)
			}
		}
		srv.Close()
	}
}

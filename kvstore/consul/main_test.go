package consul_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// shared is the server of all tests that do not need one of their own.
var shared *consultest.Server

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weft-consul-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if shared, err = consultest.New(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		fmt.Fprintf(os.Stderr, "last of Consul's log:\n%s\n", shared.Log())
	}
	shared.Stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// requests counts a Store's requests by what they are for.
type requests struct {
	mu    sync.Mutex
	count map[string]int
	errs  map[string]int
}

func (r *requests) on(request string, _ time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count, r.errs = map[string]int{}, map[string]int{}
	}
	r.count[request]++
	if err != nil {
		r.errs[request]++
	}
}

func (r *requests) of(request string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[request]
}

// serial makes prefixes different.
var serial atomic.Int64

// config is that of a Store on addresses, under a prefix of the test's own.
func config(t testing.TB, addresses ...string) consul.Config {
	prefix := fmt.Sprintf("%s-%d", t.Name(), serial.Add(1))
	return consul.Config{Addresses: addresses, Prefix: prefix, NodeAddress: "192.0.2.1", Log: quiet()}
}

// by is cfg by other addresses, uncounted.
func by(cfg consul.Config, addresses ...string) consul.Config {
	cfg.Addresses, cfg.OnRequest = addresses, nil
	return cfg
}

func open(t testing.TB, cfg consul.Config) *consul.Store {
	t.Helper()
	s, err := consul.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func set(key, value string) kvstore.Op {
	return kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}
}

func txn(t testing.TB, s kvstore.Store, ops ...kvstore.Op) []kvstore.Pair {
	t.Helper()
	pairs, err := s.Txn(t.Context(), ops...)
	if err != nil {
		t.Fatal(err)
	}
	return pairs
}

// keepWriting sets key about 200 times in a second until ctx ends.
func keepWriting(ctx context.Context, s kvstore.Store, key string) {
	for i := 0; ctx.Err() == nil; i++ {
		_, _ = s.Txn(ctx, set(key, fmt.Sprint(i)))
		time.Sleep(5 * time.Millisecond)
	}
}

func receive[T any](t testing.TB, what string, c <-chan T, d time.Duration) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(d):
		t.Fatalf("%s: nothing within %v", what, d)
		panic("unreachable")
	}
}

func eventually(t testing.TB, what string, d time.Duration, check func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !check(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}

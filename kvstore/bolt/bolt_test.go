package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// opener, set in the environment, makes the test binary a process that opens
// the file named, says so and stays until its input ends.
const opener = "WEFT_TEST_BOLT_OPEN"

func TestMain(m *testing.M) {
	if path := os.Getenv(opener); path != "" {
		s, err := bolt.Open(path)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("open")
		_, _ = s.Txn(context.Background(), kvstore.Op{Kind: kvstore.Set, Key: "x", Value: []byte("other process")})
		fmt.Println("written")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func set(t *testing.T, s kvstore.Store, key, value string) {
	t.Helper()
	if _, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kvstore.Store { return open(t, filepath.Join(t.TempDir(), "weft.db")) })
}

// Pairs and revisions outlive the process; a hold does not.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	s := open(t, path)
	set(t, s, "x", "1")
	held, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Hold(t.Context(), "me", "h", nil, time.Second, func() { close(held) }) }()
	<-held
	before, revision, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, kvstore.ErrClosed) {
		t.Errorf("Hold at Close = %v, want ErrClosed", err)
	}

	s = open(t, path)
	after, again, err := s.List(t.Context(), "")
	if err != nil || again < revision {
		t.Fatalf("List = revision %d, %v, want %d or more", again, err, revision)
	}
	if len(after) != 2 || after[1].Key != "x" || after[1].Revision != before[1].Revision || after[0].Held {
		t.Errorf("after reopening: %+v, want %+v, not held", after, before)
	}
	// A revision of the former process is still good for Wait.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := s.Wait(ctx, "", again); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait with the last revision = %v, want to wait", err)
	}
	set(t, s, "x", "2")
	if _, _, err := s.Wait(t.Context(), "", again); err != nil {
		t.Error(err)
	}
}

// A revision too old for the memory of changes returns at once.
func TestWaitFarBack(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "weft.db"))
	_, revision, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		ops := make([]kvstore.Op, kvstore.MaxOps)
		for j := range ops {
			ops[j] = kvstore.Op{Kind: kvstore.Set, Key: fmt.Sprintf("k/%d", j), Value: fmt.Append(nil, i)}
		}
		if _, err := s.Txn(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := s.Wait(ctx, "none/", revision); err != nil {
		t.Errorf("Wait with a forgotten revision = %v, want to return at once", err)
	}
}

func TestOpenLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), opener+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = bolt.Open(path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("Open of a locked file = %v, want a sentence about %s and another process", err, path)
	}
	if errors.Is(err, bolt.ErrCorrupt) {
		t.Error("a locked file is ErrCorrupt")
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("Open of a locked file took %v", d)
	}
	_ = in.Close()
	_ = cmd.Wait()
	open(t, path)
}

// What Txn has returned is in the file when the process is killed.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), opener+"="+path)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for buf := make([]byte, 64); !bytes.Contains(said, []byte("written")); {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("%q, %v", said, err)
		}
		said = append(said, buf[:n]...)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	p, err := open(t, path).Get(t.Context(), "x")
	if err != nil || string(p.Value) != "other process" {
		t.Errorf("after the writer was killed: %+v, %v", p, err)
	}
}

// Whatever is wrong with the file, Open says so, and a new one can be made in
// its place at once.
func TestOpenCorrupt(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	s := open(t, good)
	for i := range 200 {
		set(t, s, fmt.Sprintf("k/%d", i), strings.Repeat("v", 500))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for what, content := range map[string][]byte{
		"text":             []byte("this is no database"),
		"long text":        bytes.Repeat([]byte("this is no database\n"), 10000),
		"zeroes":           make([]byte, len(whole)),
		"cut to a page":    whole[:page],
		"cut to two pages": whole[:2*page],
		"cut to ten pages": whole[:10*page],
		"no metas":         slices.Concat(make([]byte, 2*page), whole[2*page:]),
		"no data":          slices.Concat(whole[:2*page], make([]byte, len(whole)-2*page)),
		"noise":            slices.Concat(whole[:2*page], bytes.Repeat([]byte("noise..."), (len(whole)-2*page)/8)),
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weft.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := bolt.Open(path)
			if err == nil {
				_ = s.Close()
			}
			if !errors.Is(err, bolt.ErrCorrupt) || !strings.Contains(err.Error(), path) {
				t.Fatalf("Open = %v, want ErrCorrupt and the path", err)
			}
			if err := os.Rename(path, path+".damaged"); err != nil {
				t.Fatal(err)
			}
			set(t, open(t, path), "x", "1")
		})
	}
}

func TestOpenWithoutDirectory(t *testing.T) {
	_, err := bolt.Open(filepath.Join(t.TempDir(), "none", "weft.db"))
	if !errors.Is(err, os.ErrNotExist) || errors.Is(err, bolt.ErrCorrupt) {
		t.Errorf("Open = %v, want ErrNotExist", err)
	}
}

// BenchmarkTxn measures one Set, synced.
func BenchmarkTxn(b *testing.B) {
	s, err := bolt.Open(filepath.Join(b.TempDir(), "weft.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	took := make([]time.Duration, 0, b.N)
	value := make([]byte, 100)
	for i := 0; b.Loop(); i++ {
		copy(value, fmt.Sprint(i))
		start := time.Now()
		if _, err := s.Txn(b.Context(), kvstore.Op{Kind: kvstore.Set, Key: fmt.Sprintf("k/%d", i%500), Value: value}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

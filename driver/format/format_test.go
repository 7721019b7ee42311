package format_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

type record struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]format.Kind{
		`{"name":"a","count":1}`:           "",
		"\n{\"name\":\"a\",\"other\":{}}":  "",
		`{"name":"a","v":1,"w":1}`:         "",
		`{"name":"a","w":2}`:               "",
		`{"name":"a","v":2}`:               format.Newer,
		`{"name":["of","a","list"],"v":2}`: format.Newer,
		`{"name":"a","v":"two"}`:           format.Unreadable,
		`{"name":7}`:                       format.Unreadable,
		`{"name":"a"`:                      format.Unreadable,
		"":                                 format.Unreadable,
		"null":                             format.Unreadable,
		"[]":                               format.Unreadable,
		"\x00\xff":                         format.Unreadable,
		`{"name":"` + strings.Repeat("x", format.MaxBytes) + `"}`: format.Large,
	} {
		got, err := format.Decode[record]([]byte(text))
		fault := format.AsFault(err)
		switch {
		case want == "" && (err != nil || got.Name != "a"):
			t.Errorf("%.40q: %v, %v", text, got, err)
		case want != "" && (fault == nil || fault.Kind != want || strings.ContainsAny(fault.Why, "\n")):
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"a","v":2,"w":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := format.Decode[record](b)
		if err != nil && format.AsFault(err) == nil {
			t.Errorf("%v is no Fault", err)
		}
		_ = format.MayWrite(b)
	})
}

func set(key, value string) kvstore.Op {
	return kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}
}

// A cluster's meta record that demands a later weft stops every write, from the first
// on, and no reading.
func TestAClusterForALaterWeft(t *testing.T) {
	for text, refused := range map[string]bool{
		`{"id":"a"}`: false, "x": false, `{"id":"a","v":1}`: false, `{"id":"a","w":2}`: true, `{"id":"a","v":2}`: true,
	} {
		inner := registrytest.OpenStore(t, "cluster.db")
		if _, err := inner.Txn(t.Context(), set("meta", text)); err != nil {
			t.Fatal(err)
		}
		g := format.Guard(inner, "meta")
		_, err := g.Txn(t.Context(), set("k", "v"))
		held, end := context.WithTimeout(t.Context(), time.Second)
		hold := g.Hold(held, "h1", "live", []byte("x"), time.Second, end)
		checked := format.Guard(inner, "meta").Check(t.Context(), time.Second)
		end()
		for _, err := range []error{err, hold, checked} {
			if errors.Is(err, format.ErrTooOld) != refused || refused && strings.Contains(err.Error(), "\n") {
				t.Errorf("with meta %s: %v", text, err)
			}
		}
		if pairs, _, err := g.List(t.Context(), ""); err != nil || refused && len(pairs) != 1 {
			t.Errorf("with meta %s the store has %v, %v", text, pairs, err)
		}
	}
}

// What meta demands is looked at each time that it is read.
func TestAClusterThatIsUpdated(t *testing.T) {
	inner := registrytest.OpenStore(t, "cluster.db")
	g := format.Guard(inner, "meta")
	write := func(want bool) {
		t.Helper()
		if _, err := g.Txn(t.Context(), set("k", time.Now().String())); (err == nil) != want {
			t.Errorf("write: %v", err)
		}
	}
	write(true)
	for text, want := range map[string]bool{`{"w":2}`: false, `{"w":1}`: true} {
		if _, err := inner.Txn(t.Context(), set("meta", text)); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), "meta"); err != nil {
			t.Fatal(err)
		}
		write(want)
	}
}

func TestWritable(t *testing.T) {
	for text, want := range map[string]bool{`{}`: true, `{"w":1}`: true, `{"w":2}`: false, `{"v":2}`: false, `{"w":"x"}`: false} {
		var rest map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &rest); err != nil {
			t.Fatal(err)
		}
		if err := format.Writable(rest); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

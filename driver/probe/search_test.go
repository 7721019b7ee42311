package probe

import (
	"errors"
	"slices"
	"testing"
)

func TestSearchFindsTheLargest(t *testing.T) {
	for _, c := range []struct{ mtu, limit int }{
		{1450, 1350}, {1450, 1449}, {1450, 513}, {1450, 1000}, {8950, 1450}, {8950, 8949}, {8950, 4321}, {65000, 1422}, {1210, 1200},
	} {
		f, heard, rounds := &finder{}, 150, 0
		for ; !f.done(); rounds++ {
			if rounds > 5*stepRounds {
				t.Fatalf("%d of %d: between %d and %d after %d rounds", c.limit, c.mtu, f.low, f.high, rounds)
			}
			said := heard // what is sent in a round is answered in the next
			for _, size := range f.next(c.mtu, said) {
				if size >= c.mtu {
					t.Errorf("%d of %d: size %d was sent", c.limit, c.mtu, size)
				}
				if size <= c.limit {
					heard = max(heard, size)
				}
			}
		}
		if f.low != c.limit || heard != c.limit {
			t.Errorf("the largest of %d is %d (heard %d), want %d", c.mtu, f.low, heard, c.limit)
		}
		t.Logf("%d of %d: %d rounds", c.limit, c.mtu, rounds)
	}
}

func TestBeacon(t *testing.T) {
	b := beacon{Host: "h1", Kind: full, MTU: 1450, Largest: 99, Final: true}
	for _, size := range []int{0, 300, 1450, 8950} {
		p, err := b.encode(size)
		if err != nil || size > 0 && len(p) != size-headers {
			t.Fatalf("%d bytes, %v", len(p), err)
		}
		got, err := decode(p)
		if err != nil || got != b {
			t.Errorf("%+v, %v", got, err)
		}
		for _, i := range []int{0, 5, 9, 20, len(p) - 1} {
			damaged := slices.Clone(p)
			damaged[i] ^= 1
			if _, err := decode(damaged); !errors.Is(err, errDamaged) {
				t.Errorf("byte %d of %d: %v", i, len(p), err)
			}
		}
	}
	if _, err := b.encode(60); err == nil {
		t.Error("a beacon was cut short")
	}
}

func FuzzDecode(f *testing.F) {
	p, _ := beacon{Host: "h1", Kind: small}.encode(0)
	f.Add(p)
	f.Fuzz(func(_ *testing.T, p []byte) { _, _ = decode(p) })
}

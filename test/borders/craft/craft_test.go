package craft

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func job(way Way, addr string) *Job {
	a := netip.MustParseAddr(addr)
	return &Job{
		Way: way, Row: 7, Seed: 1, UDP: 4789, VNI: 5000, Victims: []MAC{{2}},
		Targets: []Target{{MAC: MAC{4}, Addr: a}}, Sources: []netip.Addr{a.Next()},
		Self: Station{MAC{6}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		Peer: Station{MAC{8}, netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")},
	}
}

// A shot that was counted can be told again.
func TestShotsAreTheSameEachTime(t *testing.T) {
	for _, way := range []Way{Socket, Segment, Wire, Port} {
		for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
			j := job(way, addr)
			for i := range 2 * j.Shapes() {
				if !reflect.DeepEqual(j.Shot(i), j.Shot(i)) {
					t.Errorf("%s: %s is another each time", way, j.Describe(i))
				}
			}
		}
	}
}

// What gets in can be counted: every datagram has its mark somewhere.
func TestEveryShotIsMarked(t *testing.T) {
	for _, way := range []Way{Socket, Segment, Wire, Port} {
		for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
			j := job(way, addr)
			for i := range j.Shapes() {
				marked := 0
				s := j.Shot(i)
				for n, f := range s.Frames {
					m, ok := Find(f)
					if !ok {
						continue
					}
					marked++
					if m.Row != 7 || m.Index != uint32(i) || way == Port && (int(m.Piece) != n || int(m.Pieces) != len(s.Frames)) {
						t.Errorf("%s: frame %d has mark %+v", j.Describe(i), n, m)
					}
				}
				// A cut may go through the mark of what is encapsulated.
				if marked == 0 && len(s.Frames) == 1 || way == Port && marked != len(s.Frames) {
					t.Errorf("%s: %d of %d frames are marked", j.Describe(i), marked, len(s.Frames))
				}
			}
		}
	}
}

func TestChecksum(t *testing.T) {
	// The example of RFC 1071 section 3.
	if got := sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != 0xddf2 {
		t.Errorf("the sum is %#x, want 0xddf2", got)
	}
}

// A header that says more than there is hides nothing from a receiver.
func TestRoutingHeadersAreWhole(t *testing.T) {
	for _, way := range []Way{Wire, Port} {
		j := job(way, "2001:db8::1")
		for i := range 20 * j.Shapes() {
			s := j.Shot(i)
			f := s.Frames[0]
			if !strings.HasSuffix(s.Shape, "whole R") || f[14+6] != headers['R'] {
				continue
			}
			if rest := f[14+40+8*(1+int(f[14+41])):]; rest[0] != 0x13 && (rest[0] < 134 || rest[0] > 137) {
				t.Errorf("%s: behind the header is % x", s.Shape, rest[:8])
			}
		}
	}
}

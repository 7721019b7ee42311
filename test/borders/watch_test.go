package borders

import (
	"context"
	"errors"
	"maps"
	"math/bits"
	"net"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/borders/craft"
	"github.com/weft-net/weft/test/lab"
)

// watch counts the marked frames that have got in, at all captures together.
type watch struct {
	captures []*capture
	mu       sync.Mutex
	seen     map[uint16]map[uint32]uint64 // by row and shot, the pieces as bits
	by       map[uint16]map[string]int    // by row and capture, the frames
}

// capture is one AF_PACKET socket.
type capture struct {
	where string
	fd    int
	// A frame from this link comes from an attacker, and its guard is behind the capture.
	ignored int
}

func newWatch() *watch {
	return &watch{seen: map[uint16]map[uint32]uint64{}, by: map[uint16]map[string]int{}}
}

// add adds a capture in a namespace: at one link, or at all if it has no name.
func (w *watch) add(t *testing.T, where, netns, link string, ignored int) {
	t.Helper()
	c := &capture{where: where, ignored: ignored}
	err := lab.Inside(netns, func() (err error) {
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // as the wire has it
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		address := &unix.SockaddrLinklayer{Protocol: all}
		if link != "" {
			i, err := net.InterfaceByName(link)
			if err != nil {
				return err
			}
			address.Ifindex = i.Index
		}
		return errors.Join(
			unix.Bind(c.fd, address),
			unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}))
	})
	if err != nil {
		t.Fatalf("watch %s: %v", where, err)
	}
	w.captures = append(w.captures, c)
}

// start reads from all captures until the test ends.
func (w *watch) start(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var reading sync.WaitGroup
	for _, c := range w.captures {
		reading.Go(func() {
			defer unix.Close(c.fd)
			buffer := make([]byte, 1<<16)
			for ctx.Err() == nil {
				w.read(c, buffer)
			}
		})
	}
	t.Cleanup(func() { stop(); reading.Wait() })
}

func (w *watch) read(c *capture, buffer []byte) {
	n, from, err := unix.Recvfrom(c.fd, buffer, 0)
	if err != nil {
		return // nothing came for a while
	}
	if l, ok := from.(*unix.SockaddrLinklayer); ok && c.ignored != 0 && l.Ifindex == c.ignored && l.Pkttype != unix.PACKET_OUTGOING {
		return
	}
	m, ok := craft.Find(buffer[:n])
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[m.Row] == nil {
		w.seen[m.Row], w.by[m.Row] = map[uint32]uint64{}, map[string]int{}
	}
	pieces := w.seen[m.Row][m.Index] | 1<<m.Piece
	if bits.OnesCount64(pieces) == int(m.Pieces) {
		pieces = whole
	}
	w.seen[m.Row][m.Index] = pieces
	w.by[m.Row][c.where]++
}

// whole stands for all pieces of a shot.
const whole = ^uint64(0)

// inside gives the shots of a row that have got in.
func (w *watch) inside(row uint16) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []int
	for _, i := range slices.Sorted(maps.Keys(w.seen[row])) {
		if w.seen[row][i] == whole {
			out = append(out, int(i))
		}
	}
	return out
}

// at says how many frames of a row a capture has seen.
func (w *watch) at(row uint16, where string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.by[row][where]
}

// missed is how many frames the captures had no room for since the last call.
func (w *watch) missed() (n int) {
	for _, c := range w.captures {
		if s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n += int(s.Drops)
		}
	}
	return n
}

// blind gives the captures that have seen nothing of a row.
func (w *watch) blind(row uint16) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.captures {
		if w.by[row][c.where] == 0 {
			out = append(out, c.where)
		}
	}
	return out
}

package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// remembered is how many datagrams of one host to another are kept, each of the
// earliest and of the latest.
const remembered = 100

// ears are those of somebody on the underlay who keeps what hosts tell each other,
// to say it again later.
type ears struct {
	mu   sync.Mutex
	kept map[[2]netip.Addr][][]byte // by sender and receiver
	of   map[string]netip.Addr

	files []*os.File
	wait  sync.WaitGroup
}

// listen begins to hear on each host what comes to it.
func listen(hosts []*lab.Host) (*ears, error) {
	e := &ears{kept: map[[2]netip.Addr][][]byte{}, of: map[string]netip.Addr{}}
	for _, h := range hosts {
		e.of[h.Name()] = h.Addr()
		var f *os.File
		err := lab.Inside(h.Netns(), func() error {
			// packet(7); the protocol is in the network's byte order.
			const ip = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, ip)
			if err == nil {
				f = os.NewFile(uintptr(fd), "packets of "+h.Name()) //nolint:gosec // it is not negative
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s: %w", h.Name(), err), e.close())
		}
		e.files = append(e.files, f)
		e.wait.Go(func() { e.hear(f) })
	}
	return e, nil
}

func (e *ears) close() error {
	var err error
	for _, f := range e.files {
		err = errors.Join(err, f.Close())
	}
	e.wait.Wait()
	return err
}

// hear keeps datagrams to the push port until the file is closed.
func (e *ears) hear(f *os.File) {
	b := make([]byte, 1<<16)
	for {
		n, err := f.Read(b)
		if err != nil {
			return
		}
		head := int(b[0]&0x0f) * 4
		if n < head+8 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(b[head+2:]) != pushPort {
			continue
		}
		way := [2]netip.Addr{netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))}
		e.mu.Lock()
		e.kept[way] = append(e.kept[way], slices.Clone(b[head+8:n]))
		if len(e.kept[way]) > 2*remembered {
			e.kept[way] = slices.Delete(e.kept[way], remembered, remembered+1)
		}
		e.mu.Unlock()
	}
}

// heard is what one host has told another, as far as it was kept.
func (e *ears) heard(from, to string) [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.kept[[2]netip.Addr{e.of[from], e.of[to]}])
}

// overhear has the run's ears listen, and reads the keys by which hosts sign.
func (r *runner) overhear() error {
	var err error
	for _, h := range r.Lab.Hosts() {
		if r.keys[h.Name()], err = signing(h); err != nil {
			return err
		}
	}
	r.ears, err = listen(r.cluster.Hosts())
	return err
}

package push

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

const (
	askEvery = 500 * time.Millisecond
	// machineWithin is less than the first SYN's repetition takes (1 s, RFC 6298
	// section 2.1), which the next question makes up for.
	machineWithin = 900 * time.Millisecond
)

// askMachines tells the registry which of the quiet hosts' machines live, and which of
// these say that no weft runs on them, until ctx ends.
func (p *Push) askMachines(ctx context.Context) {
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var asked sync.WaitGroup
		for _, host := range p.reg.Quiet() {
			asked.Go(func() {
				if lives, refuses := machine(ctx, p.reg.Self(), host); lives {
					p.reg.MachineAnswers(host, refuses)
				}
			})
		}
		asked.Wait()
	}
}

// machine says whether the host's machine lives, since it takes or refuses a connection to
// its push port. It refuses while no weft listens there, and takes it for a weft that hangs.
func machine(ctx context.Context, self, host overlay.Host) (lives, refuses bool) {
	dialer := net.Dialer{Timeout: machineWithin, LocalAddr: &net.TCPAddr{IP: self.Push.Addr().AsSlice()}}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", host.Push.String())
	if err == nil {
		_ = conn.Close()
	}
	refuses = errors.Is(err, unix.ECONNREFUSED)
	return err == nil || refuses, refuses
}

package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// DialContext connects from inside the member's network. It has the shape
// http.Transport asks for. The connection stays in that network wherever it is
// used afterwards.
func (m *member) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is never unlocked, so the runtime scraps it with its
		// foreign namespace when this goroutine ends.
		runtime.LockOSThread()
		if err := enterNetns(m.Netns()); err != nil {
			done <- result{err: fmt.Errorf("enter the network of %s: %w", m.name, err)}
			return
		}
		// A literal address is dialled on the calling thread.
		d := net.Dialer{FallbackDelay: -1}
		conn, err := d.DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// HTTPClient speaks HTTP from inside the member's network. Close its idle
// connections when done.
func (m *member) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: m.DialContext}}
}

func enterNetns(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

package lab

import (
	"context"
	"fmt"
	"io"
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
	var conn net.Conn
	err := Inside(m.Netns(), func() (err error) {
		// A literal address is dialled on the calling thread.
		d := net.Dialer{FallbackDelay: -1}
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("in the network of %s: %w", m.name, err)
	}
	return conn, nil
}

// HTTPClient speaks HTTP from inside the member's network. Close its idle
// connections when done.
func (m *member) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: m.DialContext}}
}

// Do makes an HTTP request from inside the member's network and gives the answer's
// body; any status but 200 is an error.
func (m *member) Do(r *http.Request) ([]byte, error) {
	client := m.HTTPClient()
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %.200s", r.URL.Host, resp.Status, body)
	}
	return body, err
}

// Inside calls f on a thread in the network namespace at path and waits for it.
// Sockets that f opens stay in the namespace wherever they are used afterwards;
// goroutines that it starts do not.
func Inside(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so the runtime scraps it with its
		// foreign namespace when this goroutine ends.
		runtime.LockOSThread()
		if err := enterNetns(path); err != nil {
			done <- fmt.Errorf("enter the network %s: %w", path, err)
			return
		}
		done <- f()
	}()
	return <-done
}

func enterNetns(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

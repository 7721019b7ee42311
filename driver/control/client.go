package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// askTime is how long a question may take. The daemon answers most from memory.
const askTime = 10 * time.Second

// Errors of the Client, each wrapped in a sentence for the user.
var (
	ErrAbsent  = errors.New("no weft daemon answers")
	ErrRefused = errors.New("refused") // the daemon said no; its sentence is the text
)

// Client asks a daemon on this host.
type Client struct {
	Socket string // path
}

// Status tells how the daemon is doing.
func (c Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, "status", nil)
}

// Networks lists the cluster's networks.
func (c Client) Networks(ctx context.Context) ([]Network, error) {
	return ask[[]Network](ctx, c, "networks", nil)
}

// Network tells everything about one network.
func (c Client) Network(ctx context.Context, idOrName string) (NetworkDetail, error) {
	return ask[NetworkDetail](ctx, c, "networks/"+url.PathEscape(idOrName), nil)
}

// Endpoints lists the cluster's endpoints that f lets pass.
func (c Client) Endpoints(ctx context.Context, f Filter) ([]Endpoint, error) {
	q := url.Values{}
	if f.Network != "" {
		q.Set("network", f.Network)
	}
	if f.Host != "" {
		q.Set("host", f.Host)
	}
	return ask[[]Endpoint](ctx, c, "endpoints", q)
}

// Hosts lists the cluster's hosts.
func (c Client) Hosts(ctx context.Context) ([]Host, error) { return ask[[]Host](ctx, c, "hosts", nil) }

// Forget declares another host dead and frees all that it had.
func (c Client) Forget(ctx context.Context, host string) error {
	_, err := send[done](ctx, c, http.MethodPost, "hosts/"+url.PathEscape(host)+"/forget", nil)
	return err
}

// Leave takes the daemon's host out of the cluster and ends the daemon. It waits up
// to 15 s for the end of the daemon's process.
func (c Client) Leave(ctx context.Context, how Leaving) (Left, error) {
	q := url.Values{}
	for name, set := range map[string]bool{"force": how.Force, "purge": how.Purge} {
		if set {
			q.Set(name, "true")
		}
	}
	pid := c.process(ctx)
	left, err := send[Left](ctx, c, http.MethodPost, "leave", q)
	if err != nil {
		return left, err
	}
	return left, gone(ctx, pid)
}

// Away tells the other hosts that the daemon's host shuts down, and ends the
// daemon.
func (c Client) Away(ctx context.Context) error {
	_, err := send[done](ctx, c, http.MethodPost, "away", nil)
	return err
}

// RotateKeys has the hosts use another key, and tells how far that has come.
func (c Client) RotateKeys(ctx context.Context) (Keys, error) {
	return send[Keys](ctx, c, http.MethodPost, "keys/rotate", nil)
}

// LogLevel changes how much the daemon logs, until its end.
func (c Client) LogLevel(ctx context.Context, level string) error {
	_, err := send[done](ctx, c, http.MethodPost, "log-level", url.Values{"level": {level}})
	return err
}

// ask sends GET /v1/path and decodes the answer.
func ask[T any](ctx context.Context, c Client, path string, q url.Values) (T, error) {
	return send[T](ctx, c, http.MethodGet, path, q)
}

// send sends method /v1/path and decodes the answer.
func send[T any](ctx context.Context, c Client, method, path string, q url.Values) (T, error) {
	return sendWithin[T](ctx, c, askTime, method, path, q)
}

// sendWithin is send with a limit of its own.
func sendWithin[T any](ctx context.Context, c Client, limit time.Duration, method, path string, q url.Values) (T, error) {
	var out T
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// The host is only there because a URL must have one.
	req, err := http.NewRequestWithContext(ctx, method, "http://weft/v1/"+path+"?"+q.Encode(), http.NoBody)
	if err != nil {
		return out, fmt.Errorf("ask the weft daemon: %w", err)
	}
	hc := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.Socket)
		},
	}}
	resp, err := hc.Do(req)
	if err != nil {
		return out, c.explain(err, limit)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return out, c.refusal(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("the answer of the weft daemon on %s cannot be read: %w", c.Socket, err)
	}
	return out, nil
}

// explain turns the failure of a request into a sentence.
func (c Client) explain(err error, limit time.Duration) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the made-up URL
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK):
		return fmt.Errorf("%w on %s: is it running? (systemctl status weft)", ErrAbsent, c.Socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may be opened by root only: run this as root", c.Socket)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w on %s within %s: it is there, but hangs", ErrAbsent, c.Socket, limit)
	}
	return fmt.Errorf("ask the weft daemon on %s: %w", c.Socket, err)
}

// refusedError is the daemon's own sentence.
type refusedError string

// Error implements error.
func (e refusedError) Error() string { return string(e) }

// Is makes errors.Is(err, ErrRefused) hold.
func (e refusedError) Is(target error) bool { return target == ErrRefused }

func (c Client) refusal(resp *http.Response) error {
	var body refusal
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Error == "" {
		return fmt.Errorf("what answers on %s is no weft daemon (HTTP status %d)", c.Socket, resp.StatusCode)
	}
	return refusedError(body.Error)
}

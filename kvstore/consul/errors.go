package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
)

// statusErrors makes an api.StatusError of each answer that is a refusal. The
// api package keeps the status of some and only the text of others.
type statusErrors struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper. 404 and 409 are answers: no such key
// or session, and a transaction that was rolled back.
func (s statusErrors) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(r)
	if err != nil || resp.StatusCode < 400 || resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusConflict {
		return resp, err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only for people to read
	return nil, api.StatusError{Code: resp.StatusCode, Body: strings.TrimSpace(string(body))}
}

// classify makes an error of a request one of kvstore's. ctx is the caller's,
// whose end goes before everything else.
func classify(ctx context.Context, err error) error {
	var status api.StatusError
	if request, ok := errors.AsType[*url.Error](err); ok {
		err = request.Err // without method and URL
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ended(ctx)
	case errors.Is(err, kvstore.ErrDenied), errors.Is(err, kvstore.ErrConflict), errors.Is(err, kvstore.ErrNotFound),
		errors.Is(err, kvstore.ErrInvalid):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer in time", kvstore.ErrUnavailable)
	case !errors.As(err, &status):
		return fmt.Errorf("%w: %w", kvstore.ErrUnavailable, err)
	}
	text := fmt.Sprintf("%s (%d)", status.Body, status.Code)
	switch status.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %s; check CONSUL_HTTP_TOKEN and its policy", kvstore.ErrDenied, text)
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %s", kvstore.ErrInvalid, text)
	}
	return fmt.Errorf("%w: %s", kvstore.ErrUnavailable, text)
}

// ended gives the error of a call whose context has ended: ours if we ended it.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, kvstore.ErrClosed) || errors.Is(cause, kvstore.ErrUnavailable) {
		return cause
	}
	return ctx.Err()
}

// unsent says that a request which failed with err has surely changed nothing:
// there was no connection, or Consul's rate limit refused it (429 for reads,
// 503 for what only the leader can do).
func unsent(err error) bool {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return true
	}
	var status api.StatusError
	return errors.As(err, &status) &&
		(status.Code == http.StatusTooManyRequests || status.Code == http.StatusServiceUnavailable)
}

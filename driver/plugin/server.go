package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// contentType is what Docker's plugin client asks for (version 1.2 of the protocol).
	contentType = "application/vnd.docker.plugins.v1.2+json"

	// maxBody caps a request's body in bytes. Real ones have a few kB.
	maxBody = 1 << 20

	// maxDrain is how much of a body that is too large is read and dropped, so
	// that its sender gets to read the refusal instead of a broken pipe.
	maxDrain = 64 << 20

	// callTime is how long a call may take. Docker's client has no time-out of
	// its own for a plugin on a socket and would wait for ever.
	callTime = 15 * time.Second

	// drainTime is how long calls under way may take when serving is to end.
	drainTime = 10 * time.Second
)

// Observer is told of every call once it is answered.
type Observer func(method string, took time.Duration, err error)

// Server is a plugin's end of the protocol. Add the drivers with Handle before Run.
type Server struct {
	log        logrus.FieldLogger
	mux        *http.ServeMux
	implements []string
	observe    Observer
}

// NewServer makes a Server without methods. observe may be nil.
func NewServer(log logrus.FieldLogger, observe Observer) *Server {
	if observe == nil {
		observe = func(string, time.Duration, error) {}
	}
	s := &Server{log: log, mux: http.NewServeMux(), observe: observe}
	Handle(s, "Plugin.Activate", func(context.Context, *None) (*manifest, error) {
		return &manifest{Implements: s.implements}, nil
	})
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("weft has no method %q: this Docker speaks a newer plugin protocol, or this is no Docker", r.URL.Path))
	})
	return s
}

// None is the argument or the answer of a method that has none.
type None struct{}

type manifest struct{ Implements []string }

// Implements adds a driver type to what Plugin.Activate answers, for example
// "NetworkDriver".
func (s *Server) Implements(driver string) { s.implements = append(s.implements, driver) }

// Handle answers POST /method by fn. Req decides whether the method has
// arguments: one other than None refuses an empty body.
func Handle[Req, Resp any](s *Server, method string, fn func(context.Context, *Req) (*Resp, error)) {
	s.mux.HandleFunc("/"+method, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callTime)
		defer cancel()
		resp, status, err := call(ctx, method, r, fn)
		took := time.Since(began)
		s.observe(method, took, err)
		log := s.log.WithFields(logrus.Fields{"method": method, "took": took.Round(time.Microsecond).String()})
		if err != nil {
			log.WithError(err).Warn("A call of Docker's failed.")
			fail(w, status, err)
			return
		}
		log.Debug("A call of Docker's was answered.")
		reply(w, http.StatusOK, resp)
	})
}

// call decodes, calls and turns a panic into an error: one bad request must
// not take the others down.
func call[Req, Resp any](ctx context.Context, method string, r *http.Request, fn func(context.Context, *Req) (*Resp, error)) (resp *Resp, status int, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, status, err = nil, http.StatusInternalServerError, fmt.Errorf("%s failed inside weft: %v; please report this", method, p)
		}
	}()
	req := new(Req)
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed, fmt.Errorf("%s takes POST, not %s", method, r.Method)
	}
	if err := decode(r.Body, req); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("%s got no usable request: %w", method, err)
	}
	resp, err = fn(ctx, req)
	if err != nil {
		return nil, http.StatusInternalServerError, err
	}
	return resp, http.StatusOK, nil
}

func decode(body io.Reader, v any) error {
	b, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	_, none := v.(*None)
	switch {
	case len(b) > maxBody:
		_, _ = io.CopyN(io.Discard, body, maxDrain) // a sender that stops early is refused too
		return fmt.Errorf("the body has more than %d bytes", maxBody)
	case none:
		return nil
	case len(b) == 0:
		return errors.New("the body is empty (Docker repeats a broken call without its arguments): run the command again")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil || object == nil {
		return errors.New("the body is no JSON object")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the body does not fit: %w", err)
	}
	return nil
}

// fail answers an error in both fields that Docker's clients read: NetworkDriver
// calls look at Err, IpamDriver calls at Error.
func fail(w http.ResponseWriter, status int, err error) {
	reply(w, status, struct{ Err, Error string }{err.Error(), err.Error()})
}

func reply(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"Err":"weft could not encode its answer"}`)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(b) // if this fails, Docker has gone
}

// Listen makes the socket, mode 0600, in place of a stale one. It refuses a
// socket that another process answers on.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the plugin directory: %w", err)
	}
	dialer := net.Dialer{Timeout: time.Second}
	if c, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("socket %s belongs to a running process: is weft running already on this host?", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the stale socket %s: %w", path, err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("protect the socket %s: %w", path, err)
	}
	return l, nil
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Run serves on l until ctx ends, and then lets calls under way finish.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	slices.Sort(s.implements)
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve Docker's calls: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		return fmt.Errorf("finish Docker's calls: %w", err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve Docker's calls: %w", err)
	}
	return nil
}

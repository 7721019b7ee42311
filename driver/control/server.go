package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"
)

// drainTime is how long answers under way may take when the server is to end.
const drainTime = 2 * time.Second

// Server is the daemon's end.
type Server struct {
	source Source
	log    logrus.FieldLogger
	mux    *http.ServeMux
}

// New makes a Server that answers from source.
func New(source Source, log logrus.FieldLogger) *Server {
	s := &Server{source: source, log: log, mux: http.NewServeMux()}
	s.get("/v1/status", func(x *index, _ *http.Request) (any, error) { return x.status(time.Now()), nil })
	s.get("/v1/networks", func(x *index, _ *http.Request) (any, error) { return x.networks(), nil })
	s.get("/v1/networks/{network}", func(x *index, r *http.Request) (any, error) {
		return x.detail(r.PathValue("network"))
	})
	s.get("/v1/endpoints", func(x *index, r *http.Request) (any, error) {
		q := r.URL.Query()
		return x.filtered(Filter{Network: q.Get("network"), Host: q.Get("host")})
	})
	s.get("/v1/hosts", func(x *index, _ *http.Request) (any, error) { return x.hosts, nil })
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, fmt.Errorf("weft %s does not know the request %s %s: use the weft command of the daemon's own version", s.source().Version, r.Method, r.URL.Path))
	})
	return s
}

// get answers GET pattern with what view makes of the present state.
func (s *Server) get(pattern string, view func(*index, *http.Request) (any, error)) {
	s.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := view(newIndex(s.source()), r)
		if _, missing := errors.AsType[notFoundError](err); missing {
			s.fail(w, r, http.StatusNotFound, err)
			return
		}
		if err != nil {
			s.fail(w, r, http.StatusInternalServerError, err)
			return
		}
		s.reply(w, r, http.StatusOK, v)
	})
}

// refusal is the body of every answer that refuses.
type refusal struct {
	Error string `json:"error"`
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, err error) {
	s.reply(w, r, status, refusal{err.Error()})
}

func (s *Server) reply(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.WithError(err).WithField("path", r.URL.Path).Error("A view could not be encoded.")
		status, b = http.StatusInternalServerError, []byte(`{"error":"weft could not encode its answer: please report this"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // if this fails, the client has gone
}

// Run serves on l until ctx ends. Make l with plugin.Listen, which lets only
// root in.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the control socket: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		_ = srv.Close() // a view that nobody reads is no loss
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

package control

import (
	"context"
	"net/http"
)

// Acts are what a person may ask the daemon to do. An error is one sentence.
type Acts struct {
	// Forget declares another host dead and frees all that it had.
	Forget func(ctx context.Context, host string) error
	// Leave takes this host out of the cluster and ends the daemon. It gives what
	// stays on the host. It refuses while the store does not answer, and without
	// Force while containers of this host are attached.
	Leave func(ctx context.Context, how Leaving) (Left, error)
	// Away tells the other hosts that this one's machine shuts down, and ends
	// the daemon.
	Away func(ctx context.Context) error
	// RotateKeys has the hosts use another key for direct messages, and waits some
	// seconds for the end of the former one.
	RotateKeys func(ctx context.Context) (Keys, error)
	// LogLevel changes how much the daemon logs, until its end.
	LogLevel func(level string) error
	// Doctor examines this host; only names the checks to make, nil is all of
	// them. Nil: the daemon cannot.
	Doctor func(ctx context.Context, only []string) (Diagnosis, error)
}

// Leaving is how a host leaves the cluster.
type Leaving struct {
	Force bool // also while containers of this host are attached
	Purge bool // also remove everything of weft's from this host
}

// Left is what stays of weft on a host that leaves the cluster.
type Left struct {
	Host   string   `json:"host"`
	State  string   `json:"state"`  // path of the host's state
	Docker []string `json:"docker"` // networks that the host's Docker has
	Kernel []string `json:"kernel"` // namespaces of the networks that containers here use
}

// Serve adds the acts to what the Server answers: POST
// /v1/hosts/{host}/forget, POST /v1/leave?force=true&purge=true, POST /v1/away, POST
// /v1/keys/rotate, POST /v1/log-level?level=debug and GET /v1/doctor?only=….
func (s *Server) Serve(a Acts) {
	s.post("/v1/hosts/{host}/forget", func(r *http.Request) error {
		return a.Forget(r.Context(), r.PathValue("host"))
	})
	s.postFor("/v1/leave", func(r *http.Request) (any, error) {
		q := r.URL.Query()
		return a.Leave(r.Context(), Leaving{Force: q.Get("force") == "true", Purge: q.Get("purge") == "true"})
	})
	s.post("/v1/away", func(r *http.Request) error { return a.Away(r.Context()) })
	s.postFor("/v1/keys/rotate", func(r *http.Request) (any, error) { return a.RotateKeys(r.Context()) })
	s.post("/v1/log-level", func(r *http.Request) error {
		return a.LogLevel(r.URL.Query().Get("level"))
	})
	if a.Doctor != nil {
		s.serveDoctor(a.Doctor)
	}
}

// done is the answer when an act has succeeded.
type done struct{}

// post answers POST pattern by doing act.
func (s *Server) post(pattern string, act func(*http.Request) error) {
	s.postFor(pattern, func(r *http.Request) (any, error) { return done{}, act(r) })
}

// postFor answers POST pattern with what act gives.
func (s *Server) postFor(pattern string, act func(*http.Request) (any, error)) {
	s.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := act(r)
		if err != nil {
			s.fail(w, r, http.StatusConflict, err)
			return
		}
		s.reply(w, r, http.StatusOK, v)
	})
}

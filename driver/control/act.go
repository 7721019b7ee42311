package control

import (
	"context"
	"net/http"
)

// Acts are what a person may ask the daemon to do. An error is one sentence.
type Acts struct {
	// Forget declares another host dead and frees all that it had.
	Forget func(ctx context.Context, host string) error
	// Leave takes this host out of the cluster and ends the daemon. It refuses
	// while the store does not answer, and without force while containers of this
	// host are attached.
	Leave func(ctx context.Context, force bool) error
	// Away tells the other hosts that this one's machine shuts down, and ends
	// the daemon.
	Away func(ctx context.Context) error
	// RotateKeys has the hosts use another key for what they tell each other directly,
	// and waits some seconds for the end of the former one.
	RotateKeys func(ctx context.Context) (Keys, error)
	// LogLevel changes how much the daemon logs, until its end.
	LogLevel func(level string) error
	// Doctor examines this host; only names the checks to make, nil is all of
	// them. Nil: the daemon cannot.
	Doctor func(ctx context.Context, only []string) (Diagnosis, error)
}

// Serve adds the acts to what the Server answers: POST
// /v1/hosts/{host}/forget, POST /v1/leave?force=true, POST /v1/away, POST
// /v1/keys/rotate, POST /v1/log-level?level=debug and GET /v1/doctor?only=….
func (s *Server) Serve(a Acts) {
	s.post("/v1/hosts/{host}/forget", func(r *http.Request) error {
		return a.Forget(r.Context(), r.PathValue("host"))
	})
	s.post("/v1/leave", func(r *http.Request) error {
		return a.Leave(r.Context(), r.URL.Query().Get("force") == "true")
	})
	s.post("/v1/away", func(r *http.Request) error { return a.Away(r.Context()) })
	s.mux.HandleFunc("POST /v1/keys/rotate", func(w http.ResponseWriter, r *http.Request) {
		keys, err := a.RotateKeys(r.Context())
		if err != nil {
			s.fail(w, r, http.StatusConflict, err)
			return
		}
		s.reply(w, r, http.StatusOK, keys)
	})
	s.post("/v1/log-level", func(r *http.Request) error {
		return a.LogLevel(r.URL.Query().Get("level"))
	})
	if a.Doctor != nil {
		s.serveDoctor(a.Doctor)
	}
}

// done is the answer of an act that was done.
type done struct{}

// post answers POST pattern by doing act.
func (s *Server) post(pattern string, act func(*http.Request) error) {
	s.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := act(r); err != nil {
			s.fail(w, r, http.StatusConflict, err)
			return
		}
		s.reply(w, r, http.StatusOK, done{})
	})
}

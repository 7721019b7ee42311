package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxScrapes is how many scrapes may be under way at once, so that who asks too
	// often delays only himself.
	maxScrapes = 4

	// scrapeTime is how long one scrape may take: Prometheus gives up after 10 s
	// unless told otherwise.
	scrapeTime = 15 * time.Second

	// drainTime is how long scrapes under way may take when serving is to end.
	drainTime = time.Second
)

// Listen opens the address HOST:PORT for Run. The error is one sentence about
// --metrics.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("--metrics %s: the port is taken by another process; choose another port, or end that process", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("--metrics %s: this host does not have that address; choose one that it has, or none, as in :9477, for all of them", address)
	case err != nil:
		return nil, fmt.Errorf("--metrics %s cannot be served: %w", address, err)
	}
	return l, nil
}

// Run serves GET /metrics on l until ctx ends.
func (m *Metrics) Run(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: complaints{m}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	}))
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: scrapeTime, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime,
		MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve the metrics: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		_ = srv.Close() // a scrape that nobody reads is no loss
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the metrics: %w", err)
	}
	return nil
}

// complaints is a promhttp.Logger.
type complaints struct{ *Metrics }

// Println implements promhttp.Logger.
func (c complaints) Println(v ...any) {
	c.log.WithField("why", fmt.Sprint(v...)).Warn("A scrape of the metrics is incomplete; please report this.")
}

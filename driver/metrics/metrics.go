package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/dns"
	"github.com/weft-net/weft/driver/reconcile"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kvstore"
)

// Bounds of the histograms, seconds.
var (
	// Docker's calls and passes take a few milliseconds; a call is given up
	// after 15 s.
	work = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15}
	// Names are answered from memory; Docker's resolver may take 4.8 s.
	names = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .05, .1, .5, 1, 5}
	// A record is everywhere within a second, unless something is wrong.
	travel = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60}
)

// Metrics counts and shows. Its methods may be called at any time and by many.
type Metrics struct {
	log      logrus.FieldLogger
	registry *prometheus.Registry

	calls    *prometheus.HistogramVec
	passes   *prometheus.HistogramVec
	drifted  prometheus.Counter
	repairs  prometheus.Counter
	requests *prometheus.HistogramVec
	applied  *prometheus.HistogramVec
	lag      prometheus.Histogram
	handed   *prometheus.CounterVec
	lost     prometheus.Counter
	queries  *prometheus.HistogramVec
	unread   prometheus.Counter
}

// New makes Metrics that ask source at each scrape. source must not block on
// anything outside the process.
func New(source Source, log logrus.FieldLogger) *Metrics {
	m := &Metrics{
		log: log, registry: prometheus.NewRegistry(),

		calls:    histograms("docker_call_duration_seconds", "How long Docker's calls took.", work, "method", "result"),
		passes:   histograms("pass_duration_seconds", "How long passes from the records to the kernel took. A pass of kind verify reads everything back, one of kind change only what has changed.", work, "kind", "result"),
		drifted:  counter("drifted_passes_total", "Passes that found something in the kernel changed by somebody else."),
		repairs:  counter("repairs_total", "Things in the kernel that somebody else had changed and a pass has repaired."),
		requests: histograms("store_request_duration_seconds", "How long requests to Consul took; wait is a long poll of up to a minute.", travel, "request", "result"),
		applied:  histograms("watch_apply_duration_seconds", "How long it took to take over an answer of a watch of the store.", work, "watch", "result"),
		lag:      prometheus.NewHistogram(histogramOpts("watch_lag_seconds", "How long after this host began to write its own record its own watch of the store showed it.", travel)),
		handed:   counters("addresses_handed_out_total", "Addresses given to Docker's containers: from stock, claimed in the store while Docker waited, or named by the user.", "from"),
		lost:     counter("addresses_lost_total", "Addresses in use on this host that turned out to be another host's."),
		queries:  histograms("dns_query_duration_seconds", "How long queries of containers took, by what became of them.", names, "outcome"),
		unread:   counter("dns_unread_queries_total", "Queries that were dropped unread because the containers of one network namespace asked more than 10,000 in a second."),
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.calls, m.passes, m.drifted, m.repairs, m.requests, m.applied, m.lag, m.handed, m.lost, m.queries, m.unread,
		scrape{source},
	)
	m.begin()
	return m
}

// begin makes the series whose labels are known from the start: rate() does not see
// the increment with which a series begins.
func (m *Metrics) begin() {
	for _, result := range []string{resultOK, resultError} {
		for _, kind := range []string{kindChange, kindVerify} {
			m.passes.WithLabelValues(kind, result)
		}
		for _, watch := range []string{"hosts", "networks"} {
			m.applied.WithLabelValues(watch, result)
		}
	}
	for _, from := range []ipam.Event{ipam.FromStock, ipam.Waited, ipam.Named} {
		m.handed.WithLabelValues(string(from))
	}
	for _, outcome := range []dns.Outcome{dns.Answered, dns.Forwarded, dns.Failed, dns.Refused, dns.Dropped} {
		m.queries.WithLabelValues(string(outcome))
	}
}

// prefix is that of all metrics of weft's own.
const prefix = "weft_"

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
}

func histograms(name, help string, bounds []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(histogramOpts(name, help, bounds), labels)
}

func histogramOpts(name, help string, bounds []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: bounds}
}

// Values of the labels result and kind.
const (
	resultOK    = "ok"
	resultError = "error"
	kindChange  = "change"
	kindVerify  = "verify"
)

func result(failed bool) string {
	if failed {
		return resultError
	}
	return resultOK
}

// Call is a plugin.Observer.
func (m *Metrics) Call(method string, took time.Duration, err error) {
	m.calls.WithLabelValues(method, result(err != nil)).Observe(took.Seconds())
}

// Pass is for reconcile.Config.Observe.
func (m *Metrics) Pass(p reconcile.Pass) {
	kind := kindChange
	if p.Verify {
		kind = kindVerify
	}
	m.passes.WithLabelValues(kind, result(p.Failed)).Observe(p.Took.Seconds())
	m.repairs.Add(float64(p.Repairs))
	if p.Repairs > 0 {
		m.drifted.Inc()
	}
}

// Request is for consul.Config.OnRequest.
func (m *Metrics) Request(request string, took time.Duration, err error) {
	m.requests.WithLabelValues(request, answer(err)).Observe(took.Seconds())
}

// answer classifies a store's error.
func answer(err error) string {
	switch {
	case err == nil:
		return resultOK
	case errors.Is(err, kvstore.ErrNotFound):
		return "absent"
	case errors.Is(err, kvstore.ErrConflict):
		return "conflict"
	case errors.Is(err, kvstore.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, kvstore.ErrDenied):
		return "denied"
	case errors.Is(err, context.Canceled), errors.Is(err, kvstore.ErrClosed):
		return "ended"
	}
	return resultError
}

// Applied is for registry.Observer.
func (m *Metrics) Applied(watch string, took time.Duration, err error) {
	m.applied.WithLabelValues(watch, result(err != nil)).Observe(took.Seconds())
}

// Returned is for registry.Observer.
func (m *Metrics) Returned(lag time.Duration) { m.lag.Observe(lag.Seconds()) }

// Address is for ipam.Config.Observe.
func (m *Metrics) Address(e ipam.Event) {
	if e == ipam.Lost {
		m.lost.Inc()
		return
	}
	m.handed.WithLabelValues(string(e)).Inc()
}

// Query is for dns.Config.Observe.
func (m *Metrics) Query(o dns.Outcome, took time.Duration) {
	m.queries.WithLabelValues(string(o)).Observe(took.Seconds())
}

// Unread is for dns.Config.Unread.
func (m *Metrics) Unread(queries uint32) { m.unread.Add(float64(queries)) }

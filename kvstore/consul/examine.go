package consul

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/weft-net/weft/kvstore"
)

// Health is what an examination of the store found.
type Health struct {
	Servers []ServerHealth // in the order of Config.Addresses
	// ReadErr is why the records cannot be read, WriteErr why a trial could not
	// be written and removed; nil if they can. While no server answers or none
	// knows a leader, both are nil.
	ReadErr, WriteErr error
	// Filtered: ACLs have left keys out of what was read.
	Filtered bool
}

// ServerHealth is what one server says.
type ServerHealth struct {
	Address string
	Err     error         // it does not answer, or not as a server; the rest is unknown then
	Leader  string        // as the server sees it; "": it knows none
	Ahead   time.Duration // how far its clock is ahead of this host's
	Within  time.Duration // how exact Ahead is: HTTP tells the second, and the way takes time
}

// Answers says whether any server can decide something.
func (h Health) Answers() bool {
	for _, s := range h.Servers {
		if s.Err == nil && s.Leader != "" {
			return true
		}
	}
	return false
}

// Examine asks every server of the list, reads, and writes and removes a key
// named trial. It takes a few seconds at most.
func (s *Store) Examine(ctx context.Context, trial string) (Health, error) {
	var out Health
	err := s.during(ctx, false, func(ctx context.Context) error {
		out.Servers = make([]ServerHealth, len(s.cfg.Addresses))
		var asked sync.WaitGroup
		for i, address := range s.cfg.Addresses {
			asked.Go(func() { out.Servers[i] = examine(ctx, address, s.cfg.Dial) })
		}
		asked.Wait()
		if !out.Answers() {
			return nil
		}
		out.Filtered, out.ReadErr = s.tryRead(ctx)
		out.WriteErr = s.tryWrite(ctx, trial)
		return nil
	})
	return out, err
}

// examine asks one server for its leader, over a connection of its own, and
// compares the clocks.
func examine(ctx context.Context, address string, by dial) ServerHealth {
	out := ServerHealth{Address: address}
	srv, err := connect(address, by)
	if err != nil {
		out.Err = err
		return out
	}
	defer srv.http.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	dated := &dated{next: srv.http}
	client, err := connectBy(address, dated)
	if err != nil {
		out.Err = err
		return out
	}
	out.Leader, err = client.Status().LeaderWithQueryOptions(read(ctx))
	if out.Err = classify(ctx, err); out.Err == nil && !dated.date.IsZero() {
		// The server cut its clock to the second somewhere between the request
		// and the answer.
		middle := dated.asked.Add(dated.answered.Sub(dated.asked) / 2)
		out.Ahead = dated.date.Add(time.Second / 2).Sub(middle)
		out.Within = time.Second/2 + dated.answered.Sub(dated.asked)/2
	}
	return out
}

// connectBy makes a client of one server over the transport.
func connectBy(address string, by http.RoundTripper) (*api.Client, error) {
	cfg := api.DefaultConfig()
	cfg.Address = address
	cfg.HttpClient = &http.Client{Transport: statusErrors{by}}
	return api.NewClient(cfg)
}

// dated notes when the last answer was made, by the server's clock, and when it
// was asked for and came, by this host's.
type dated struct {
	next                  http.RoundTripper
	asked, answered, date time.Time
}

// RoundTrip implements http.RoundTripper.
func (d *dated) RoundTrip(r *http.Request) (*http.Response, error) {
	d.asked = time.Now()
	resp, err := d.next.RoundTrip(r)
	d.answered = time.Now()
	if err == nil {
		d.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero if it has none
	}
	return resp, err
}

// tryRead reads, and says whether ACLs leave out some of the keys.
func (s *Store) tryRead(ctx context.Context) (filtered bool, err error) {
	if err := s.mayRead(ctx, ""); err != nil {
		return false, err
	}
	err = s.call(ctx, "list", true, func(ctx context.Context, c *api.Client) error {
		_, meta, err := c.KV().Keys(s.key(""), "/", read(ctx))
		if err == nil {
			filtered = meta.ResultsFilteredByACLs
		}
		return err
	})
	return filtered, err
}

// tryWrite writes a key and removes it, in one transaction: nobody sees it.
func (s *Store) tryWrite(ctx context.Context, trial string) error {
	_, err := s.Txn(ctx,
		kvstore.Op{Kind: kvstore.Set, Key: trial, Value: []byte(time.Now().UTC().Format(time.RFC3339Nano))},
		kvstore.Op{Kind: kvstore.Delete, Key: trial},
	)
	return err
}

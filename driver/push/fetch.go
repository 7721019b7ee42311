package push

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
)

// patience is how long an announced document may be on its way. Then its host is
// asked for it.
const patience = 50 * time.Millisecond

// Limits of asking.
const (
	fetchesAtOnce = 8                // hosts that are asked at the same time
	connectWithin = time.Second      // TCP
	frameWithin   = 2 * time.Second  // one message of an answer
	answerWithin  = 30 * time.Second // all of it
)

// fetcher asks hosts for announced documents that have not come, one question to a
// host at a time.
type fetcher struct {
	p    *Push
	asks chan string

	mu      sync.Mutex
	pending map[string]bool // hosts with a goroutine
}

func newFetcher(p *Push) fetcher {
	return fetcher{p: p, asks: make(chan string, 64), pending: map[string]bool{}}
}

// ask has the host asked for what is missing, if that does not come by itself. It
// does not wait. If a call is lost here, the next beat makes another.
func (f *fetcher) ask(host string) {
	f.mu.Lock()
	busy := f.pending[host]
	f.mu.Unlock()
	if busy {
		return
	}
	select {
	case f.asks <- host:
	default:
	}
}

// run fetches until ctx ends. There is at most one goroutine for each host that
// the store knows.
func (f *fetcher) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	slots := make(chan struct{}, fetchesAtOnce)
	for {
		select {
		case <-ctx.Done():
			return g.Wait()
		case host := <-f.asks:
			if f.begin(host) {
				g.Go(func() error {
					defer f.end(host)
					f.pursue(ctx, host, slots)
					return nil
				})
			}
		}
	}
}

func (f *fetcher) begin(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending[host] {
		return false
	}
	f.pending[host] = true
	return true
}

func (f *fetcher) end(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pending, host)
}

// pursue asks the host until nothing is missing.
func (f *fetcher) pursue(ctx context.Context, host string, slots chan struct{}) {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = patience, 5*time.Second
	wait, asked := patience, uint64(math.MaxUint64)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		since, missing := f.p.reg.Missing(host)
		if !missing {
			return
		}
		if asked != since { // it got on: this is something new that is missing
			retry.Reset()
		}
		asked = since
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		err := f.p.fetchFrom(ctx, host, since)
		<-slots
		wait = retry.NextBackOff()
		f.p.stats.fetches.Add(1)
		if err != nil && ctx.Err() == nil {
			f.p.stats.fetchesFailed.Add(1)
			f.p.log.WithError(err).WithField("host", host).Debug("A host did not give what it has announced; it is asked again.")
		}
	}
}

// fetchFrom asks the host for everything after since.
func (p *Push) fetchFrom(ctx context.Context, host string, since uint64) error {
	peer, known := p.reg.PushPeer(host)
	box := p.sealer()
	if box == nil || !known {
		return fmt.Errorf("host %q does not hear direct messages", host)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	// From the address by which others know this host, see admit.
	from := &net.TCPAddr{IP: p.reg.Self().Push.Addr().AsSlice()}
	conn, err := (&net.Dialer{Timeout: connectWithin, LocalAddr: from}).DialContext(ctx, "tcp", peer.Push.String())
	if err != nil {
		return fmt.Errorf("ask host %q: %w", host, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	docs, err := question{box: box, self: p.reg.Self(), sign: p.reg.Sign, host: host, key: peer.Key, keys: peer.Keys, since: since}.ask(conn)
	if err != nil {
		return fmt.Errorf("ask host %q: %w", host, err)
	}
	return p.reg.Catch(ctx, docs)
}

// question is one question for documents.
type question struct {
	box   *box
	self  overlay.Host
	sign  func([]byte) []byte
	host  string // that is asked
	key   string // its public key, see verify
	keys  overlay.Keys
	since uint64
}

// ask puts the question and reads the whole answer.
func (q question) ask(conn net.Conn) (registry.Documents, error) {
	var docs registry.Documents
	m := message{Kind: want, Host: q.self.Name, Incarnation: q.self.Incarnation, Seq: q.since}
	plain, err := m.encode()
	if err != nil {
		return docs, err
	}
	purpose := forQuestion + q.host
	sealed := q.box.seal(q.box.sign(plain, purpose, q.sign), purpose, q.keys)
	if err := conn.SetDeadline(time.Now().Add(frameWithin)); err != nil {
		return docs, err
	}
	if err := writeFrame(conn, sealed); err != nil {
		return docs, err
	}
	total, follow := 0, 0
	for i := 0; ; i++ {
		m, n, err := q.read(conn, answerPurpose(sealed, i))
		if i > 0 && errors.Is(err, errSenseless) { // a document that this version cannot use: what was known stays
			docs.Unread++
			err, m = nil, message{}
		}
		if err != nil {
			return docs, err
		}
		if total += n; total > maxAnswer {
			return docs, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
		}
		switch {
		case i == 0 && m.Kind == have && m.Host == q.host:
			docs = registry.Documents{Host: m.Host, Incarnation: m.Incarnation, Seq: m.Seq, Networks: m.Networks}
			follow = m.Count
		case i > 0 && m.Kind == doc && m.Host == q.host:
			docs.New = append(docs.New, *m.Doc)
		case i > 0 && m.Kind == "":
		default:
			return docs, fmt.Errorf("a %s of host %q was answered", m.Kind, m.Host)
		}
		if len(docs.New)+docs.Unread == follow {
			return docs, nil
		}
	}
}

func (q question) read(conn net.Conn, purpose string) (message, int, error) {
	if err := conn.SetDeadline(time.Now().Add(frameWithin)); err != nil {
		return message{}, 0, err
	}
	sealed, err := readFrame(conn, maxFrame)
	if err != nil {
		return message{}, 0, err
	}
	plain, _, err := q.box.open(sealed, purpose)
	if err != nil {
		return message{}, 0, err
	}
	if err := q.box.verify(plain, purpose, q.key); err != nil {
		return message{}, 0, err
	}
	m, err := decode(plain)
	return m, len(sealed), err
}

// answerPurpose binds the i-th message of an answer to the sealed question.
func answerPurpose(question []byte, i int) string {
	return forAnswer + string(question[:overhead]) + strconv.Itoa(i)
}

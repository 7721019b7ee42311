package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// answersAtOnce is how many questions of hosts are answered at the same time.
const answersAtOnce = 32

// Within these times after a connection its question must have come: it is sent
// with the end of TCP's handshake.
const (
	questionWithin = time.Second            // of a member
	strangerWithin = 300 * time.Millisecond // of anybody else
)

// answer answers questions for this host's documents until ctx ends.
func (p *Push) answer(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	defer listener.Close()
	var open sync.WaitGroup
	defer open.Wait()
	var hall guests
	known := members{peers: p.reg.PushPeers}
	slots := make(chan struct{}, answersAtOnce)
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("accept questions: %w", err)
		}
		from := sourceOf(conn)
		g := &guest{Conn: conn, from: from, member: known.have(from, time.Now())}
		hall.enter(g)
		open.Go(func() {
			defer hall.leave(g)
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			if err := p.attend(ctx, g, &hall, slots); err != nil && ctx.Err() == nil {
				p.log.WithError(err).WithField("from", conn.RemoteAddr()).Debug("A question was not answered.")
			}
		})
	}
}

// attend hears the guest's question and answers it.
func (p *Push) attend(ctx context.Context, g *guest, hall *guests, slots chan struct{}) error {
	box := p.sealer()
	if box == nil {
		return errors.New("the cluster's keys are not known yet")
	}
	within := strangerWithin
	if g.member {
		within = questionWithin
	}
	asker, sealed, since, err := p.readQuestion(g, g.from, box, within)
	if errors.Is(err, io.EOF) {
		return nil // somebody only tried whether the port is open
	}
	if err != nil {
		p.stats.refused.Add(1)
		return err
	}
	if !hall.leave(g) {
		return errors.New("it had to give way") // whoever asks does so again after a while
	}
	select {
	case slots <- struct{}{}:
	default:
		return errors.New("too many are answered already")
	}
	defer func() { <-slots }()
	return p.answerOne(ctx, g, box, asker, sealed, since)
}

// answerOne answers a question that a host of the cluster has sealed.
func (p *Push) answerOne(ctx context.Context, conn net.Conn, box *box, asker overlay.Host, sealed []byte, since uint64) error {
	docs, err := p.reg.Documents(ctx, since)
	if err != nil {
		return err
	}
	m := message{Kind: have, Host: docs.Host, Incarnation: docs.Incarnation, Seq: docs.Seq, Networks: docs.Networks, Count: len(docs.New)}
	until := time.Now().Add(answerWithin)
	for i := range len(docs.New) + 1 {
		if i > 0 {
			m = message{Kind: doc, Host: docs.Host, Incarnation: docs.Incarnation, Doc: &docs.New[i-1]}
		}
		plain, err := m.encode()
		if err != nil {
			return err
		}
		purpose := answerPurpose(sealed, i)
		plain = box.sign(plain, purpose, p.reg.Sign)
		by := time.Now().Add(frameWithin)
		if by.After(until) {
			by = until
		}
		if err := conn.SetWriteDeadline(by); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if err := writeFrame(conn, box.seal(plain, purpose, asker.Keys)); err != nil {
			return err
		}
	}
	p.stats.answers.Add(1)
	return nil
}

// readQuestion gives who asks, the sealed question and the number it names.
func (p *Push) readQuestion(conn net.Conn, from netip.Addr, box *box, within time.Duration) (asker overlay.Host, sealed []byte, since uint64, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return asker, nil, 0, fmt.Errorf("read a question: %w", err)
	}
	if sealed, err = readFrame(conn, maxQuestion); err != nil {
		return asker, nil, 0, err
	}
	plain, _, err := box.open(sealed, forQuestion+p.reg.Self().Name)
	if err != nil {
		return asker, nil, 0, err
	}
	m, err := decode(plain)
	if err != nil {
		return asker, nil, 0, err
	}
	if m.Kind != want {
		return asker, nil, 0, fmt.Errorf("a %s is no question", m.Kind)
	}
	if asker, err = p.admit(box, m, plain, forQuestion+p.reg.Self().Name, from); err != nil {
		return asker, nil, 0, err
	}
	return asker, sealed, m.Seq, nil
}

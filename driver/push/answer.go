package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Limits of answering. A stranger can hold a slot for questionWithin and no
// memory beyond maxQuestion.
const (
	questionsAtOnce = 32
	questionWithin  = time.Second
)

// answer answers questions for this host's documents until ctx ends.
func (p *Push) answer(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	defer listener.Close()
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, questionsAtOnce)
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
		select {
		case slots <- struct{}{}:
		default: // whoever asks does so again after a while
			_ = conn.Close()
			continue
		}
		open.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			if err := p.answerOne(ctx, conn); err != nil && ctx.Err() == nil {
				p.log.WithError(err).WithField("from", conn.RemoteAddr()).Debug("A question was not answered.")
			}
		})
	}
}

func (p *Push) answerOne(ctx context.Context, conn net.Conn) error {
	box := p.sealer()
	if box == nil {
		return errors.New("the cluster's keys are not known yet")
	}
	sealed, since, err := p.readQuestion(conn, box)
	if errors.Is(err, io.EOF) {
		return nil // somebody only tried whether the port is open
	}
	if err != nil {
		p.stats.refused.Add(1)
		return err
	}
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
		by := time.Now().Add(frameWithin)
		if by.After(until) {
			by = until
		}
		if err := conn.SetWriteDeadline(by); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if err := writeFrame(conn, box.seal(plain, answerPurpose(sealed, i))); err != nil {
			return err
		}
	}
	p.stats.answers.Add(1)
	return nil
}

// readQuestion gives the sealed question and the number it names.
func (p *Push) readQuestion(conn net.Conn, box *box) (sealed []byte, since uint64, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(questionWithin)); err != nil {
		return nil, 0, fmt.Errorf("read a question: %w", err)
	}
	if sealed, err = readFrame(conn, maxQuestion); err != nil {
		return nil, 0, err
	}
	plain, err := box.open(sealed, forQuestion+p.reg.Self().Name)
	if err != nil {
		return nil, 0, err
	}
	m, err := decode(plain)
	if err != nil {
		return nil, 0, err
	}
	if m.Kind != want {
		return nil, 0, fmt.Errorf("a %s is no question", m.Kind)
	}
	return sealed, m.Seq, nil
}

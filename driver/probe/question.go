package probe

import (
	"context"
	"fmt"
)

// question is asked by several at once. It goes on as long as any of them waits for
// the answer.
type question struct {
	askers int
	end    context.CancelFunc

	done  chan struct{} // closed: what follows is the answer
	paths []Path
	err   error
}

// Ask has all hosts probe the paths between them and gives the paths, sorted by From
// and To: after about a second if all is well, else within 12 s. All who ask at the
// same time get the same answer.
func (p *Prober) Ask(ctx context.Context) ([]Path, error) {
	q := p.join(ctx)
	defer p.leave(q)
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("probe the paths between hosts: %w", ctx.Err())
	case <-q.done:
	}
	if q.err != nil {
		return nil, fmt.Errorf("probe the paths between hosts: %w", q.err)
	}
	return q.paths, nil
}

// join joins the question under way, or begins one.
func (p *Prober) join(ctx context.Context) *question {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.question == nil {
		ctx, end := context.WithCancel(context.WithoutCancel(ctx))
		q := &question{end: end, done: make(chan struct{})}
		p.question = q
		go func() {
			q.paths, q.err = p.ask(ctx)
			p.mu.Lock()
			p.forget(q)
			p.mu.Unlock()
			close(q.done)
		}()
	}
	p.question.askers++
	return p.question
}

// leave takes one asker off the question. The last one ends it and waits for its end.
func (p *Prober) leave(q *question) {
	p.mu.Lock()
	q.askers--
	last := q.askers == 0
	if last {
		p.forget(q)
	}
	p.mu.Unlock()
	if last {
		q.end()
		<-q.done
	}
}

// forget makes the next one who asks begin a new question. Call it with mu.
func (p *Prober) forget(q *question) {
	if p.question == q {
		p.question = nil
	}
}

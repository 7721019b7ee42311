package traffic

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// answers measures how long one byte there and one back take.
func answers(job Job, at ends) (Result, error) {
	pairs, err := connect(job, 1)
	if err != nil {
		return Result{}, err
	}
	p := pairs[0]
	var w window
	took := make([]int32, 0, int(job.Duration.Seconds()*200_000)+1) // nanoseconds
	server := thread("", at.server, func() error { return echo(p.server) })
	client := thread("", at.client, func() error {
		b := make([]byte, 1)
		if _, err := ask(p.client, b, job.Duration/5, nil); err != nil {
			return err
		}
		w = openWindow()
		var err error
		took, err = ask(p.client, b, job.Duration, took)
		w.units = float64(len(took))
		w.close()
		return err
	})
	err = <-client
	_ = unix.Shutdown(p.client, unix.SHUT_RDWR)
	if err := errors.Join(err, <-server); err != nil {
		return Result{}, err
	}
	if len(took) == 0 {
		return Result{}, errors.New("there was no answer")
	}
	r := w.result()
	slices.Sort(took)
	r.Value = float64(took[len(took)/2]) / 1e3
	r.P99 = float64(took[len(took)*99/100]) / 1e3
	return r, nil
}

// ask asks for the duration and appends how long each answer took, as long as
// there is room.
func ask(fd int, b []byte, d time.Duration, took []int32) ([]int32, error) {
	begin := time.Now()
	for since := time.Duration(0); since < d; {
		if errno := send(fd, b); errno != 0 {
			return took, fmt.Errorf("ask: %w", errno)
		}
		if n, errno := receive(fd, b); errno != 0 || n == 0 {
			return took, fmt.Errorf("wait for an answer: %w", errno)
		}
		now := time.Since(begin)
		if len(took) < cap(took) {
			took = append(took, int32(min(now-since, time.Second)))
		}
		since = now
	}
	return took, nil
}

func echo(fd int) error {
	b := make([]byte, 1)
	for {
		switch n, errno := receive(fd, b); {
		case errno != 0:
			return fmt.Errorf("wait for a question: %w", errno)
		case n == 0:
			return nil
		}
		if errno := send(fd, b); errno != 0 {
			return fmt.Errorf("answer: %w", errno)
		}
	}
}

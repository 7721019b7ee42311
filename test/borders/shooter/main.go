// Command shooter sends the frames of a job from where it runs, and says how many
// of them the kernel refused to send. It is static, so that it runs in any container.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/weft-net/weft/test/borders/craft"
)

// Result is what shooter prints.
type Result struct {
	Refused int    `json:"refused"` // shots
	Why     string `json:"why,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "shooter:", err)
		os.Exit(1)
	}
}

// sender sends one shot.
type sender interface {
	send(craft.Shot) error
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: shooter JOB, as JSON")
	}
	var j craft.Job
	if err := json.Unmarshal([]byte(os.Args[1]), &j); err != nil {
		return err
	}
	if j.Way == craft.Theft {
		return steal(&j)
	}
	s, err := open(&j)
	if err != nil {
		return err
	}
	var r Result
	sent := 0
	for i := range j.Count {
		shot := j.Shot(i)
		if err := s.send(shot); err != nil {
			r.Refused++
			r.Why = err.Error()
		}
		if sent += packets(shot); sent >= burst {
			time.Sleep(breath)
			sent = 0
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// The queue of a CPU has room for 1000 packets (net.core.netdev_max_backlog), for
// all who receive on it, and what it drops has tested nothing.
const (
	burst  = 64
	breath = time.Millisecond / 2
)

func packets(s craft.Shot) int {
	if s.Size > 0 {
		return len(s.Frames[0]) / s.Size
	}
	return len(s.Frames)
}

func open(j *craft.Job) (sender, error) {
	if j.Way == craft.Wire || j.Way == craft.Port {
		return openLink(j)
	}
	return openSockets(j)
}

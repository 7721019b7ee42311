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
	s, err := open(&j)
	if err != nil {
		return err
	}
	var r Result
	for i := range j.Count {
		if err := s.send(j.Shot(i)); err != nil {
			r.Refused++
			r.Why = err.Error()
		}
		if i%burst == burst-1 {
			time.Sleep(breath)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// A receiver's queue has room for 1000 frames (net.core.netdev_max_backlog), and
// what it drops has tested nothing.
const (
	burst  = 64
	breath = time.Millisecond / 4
)

func open(j *craft.Job) (sender, error) {
	if j.Way == craft.Wire || j.Way == craft.Port {
		return openLink(j)
	}
	return openSockets(j)
}

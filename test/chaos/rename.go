package chaos

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/test/lab"
)

// rename gives the machine another name while its weft is stopped. It keeps that
// name until the next time, and is the same host all the while.
func (r *runner) rename(ctx context.Context, o op) (undo func() error, err error) {
	h := r.Lab.Host(o.host)
	if err := h.Stop(ctx, lab.Weft); err != nil {
		return nil, err
	}
	h.WeftArgs("--host=")
	undo = func() error {
		if err := h.Start(ctx, lab.Weft); err != nil {
			return err
		}
		s, err := r.cluster.Control(o.host).Status(ctx)
		if err == nil && s.Host != o.host {
			err = fmt.Errorf("the machine goes on as host %q", s.Host)
		}
		return err
	}
	_, err = h.Run(ctx, "hostname", o.args[0])
	return undo, err
}

package doctor

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
)

var kernelCheck = Check{
	Name: "kernel", Code: 11, About: "the kernel can do all that weft asks of it",
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		lacks, err := h.Kernel.Lacks(ctx)
		if err != nil {
			return nil, err
		}
		return kernelFindings(h.self(), lacks), nil
	},
}

func kernelFindings(host string, lacks []dataplane.Lack) []Finding {
	var out []Finding
	for _, l := range lacks {
		costs, severity := "so networks with containers here fail", control.Broken
		if l.Minor {
			costs, severity = "so who connects to a container of this host that is just gone waits for its own time-out", control.Risk
		}
		out = append(out, Finding{
			Object:   host,
			Problem:  fmt.Sprintf("the kernel of %s has no %s (%v), %s", host, l.What, l.Err, costs),
			Cure:     fmt.Sprintf("load the module %s (modprobe %s), or use a kernel with %s", l.Module, l.Module, l.Option),
			Severity: severity,
		})
	}
	return out
}

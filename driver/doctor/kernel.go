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
		out = append(out, Finding{
			Object:   host,
			Problem:  fmt.Sprintf("the kernel of %s has no %s (%v), so networks with containers here fail", host, l.What, l.Err),
			Cure:     fmt.Sprintf("load the module %s (modprobe %s), or use a kernel with %s", l.Module, l.Module, l.Option),
			Severity: control.Broken,
		})
	}
	return out
}

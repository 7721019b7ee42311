package main

import (
	"context"
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/probe"
)

// newProber fits the records, the loop of passes and the data plane to the
// probe of paths.
func (d *daemon) newProber() *probe.Prober {
	return probe.New(probe.Config{
		Snapshot: d.registry.Snapshot, Changes: d.registry.Changes,
		Probe: d.registry.Probe, Probed: d.registry.Probed, Probing: d.registry.Probing, Store: d.cluster,
		Members: func() []probe.Member {
			var out []probe.Member
			for _, h := range d.registry.HostStates() {
				out = append(out, probe.Member{Host: h.Host, Live: h.Live})
			}
			return out
		},
		Sync: func(ctx context.Context) error { return d.reconciler.Sync(ctx, overlay.ProbeNetwork) },
		Listen: func(ctx context.Context, at netip.AddrPort, checksums bool) (probe.PacketConn, error) {
			return d.kernel.ListenProbe(ctx, at, checksums)
		},
		Log: d.log,
	})
}

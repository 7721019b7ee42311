package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/weft-net/weft/test/lab"
)

func weftFaults() []*fault {
	start := func(ctx context.Context, p *play) error { return p.host("h1").Start(ctx, lab.Weft) }
	stop := func(ctx context.Context, p *play) error { return p.host("h1").Stop(ctx, lab.Weft) }
	kill := func(ctx context.Context, p *play) error { return p.host("h1").Kill(ctx, lab.Weft) }
	return []*fault{
		{name: "weft-restart", title: "weft restarted (SIGTERM)", lab: plain, lossless: true, harm: stop, mend: start},
		{name: "weft-kill", title: "weft killed (SIGKILL) and started", lab: plain, lossless: true, harm: kill, mend: start},
		{name: "weft-upgrade", title: "weft upgraded: program replaced, restarted", lab: plain, lossless: true, harm: func(ctx context.Context, p *play) error {
			if err := p.stage.upgrade(); err != nil {
				return err
			}
			return stop(ctx, p)
		}, mend: start},
	}
}

// stateFaults come last: the host has another incarnation afterwards.
func stateFaults() []*fault {
	return []*fault{
		{
			name: "state-corrupt", title: "state file overwritten with rubbish, weft killed and started", lab: plain, lossless: true,
			harm: func(ctx context.Context, p *play) error {
				if err := p.stage.takeSnapshot(ctx); err != nil {
					return err
				}
				if err := p.host("h1").Kill(ctx, lab.Weft); err != nil {
					return err
				}
				return os.WriteFile(filepath.Join(p.host("h1").Dir(), "weft", "state.db"), make([]byte, 100_000), 0o600)
			},
			mend: func(ctx context.Context, p *play) error { return p.host("h1").Start(ctx, lab.Weft) },
		},
		{name: "state-restored", title: "after that, Consul restored from a snapshot that is older than the loss of the state", lab: plain, lossless: true, harm: nothing, mend: restore},
	}
}

func dockerFaults() []*fault {
	start := func(ctx context.Context, p *play) error { return p.host("h1").Start(ctx, lab.Dockerd) }
	return []*fault{
		{
			name: "dockerd-kill", title: "dockerd killed (SIGKILL) and started, live-restore", lab: plain, lossless: true,
			harm: func(ctx context.Context, p *play) error { return p.host("h1").Kill(ctx, lab.Dockerd) }, mend: start,
		},
		{
			name: "dockerd-restart", title: "dockerd stopped and started, live-restore", lab: plain, lossless: true,
			harm: func(ctx context.Context, p *play) error { return p.host("h1").Stop(ctx, lab.Dockerd) }, mend: start,
		},
	}
}

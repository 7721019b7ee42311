package main

import (
	"context"
	"time"
)

func linkFaults() []*fault {
	heal := func(ctx context.Context, p *play) error { return p.stage.lab.Heal(ctx) }
	cut := func(other string, d time.Duration) func(context.Context, *play) error {
		return func(ctx context.Context, p *play) error {
			if err := p.stage.lab.Cut(ctx, "h1", other); err != nil {
				return err
			}
			return last(ctx, d)
		}
	}
	return []*fault{
		{name: "link-cut", title: "the two hosts' link cut for 10 s", lab: plain, harm: cut("h2", 10*time.Second), mend: heal},
		{name: "consul-cut", title: "one host cut off from Consul only, for 40 s", lab: plain, waits: true, lossless: true, harm: cut("consul1", 40*time.Second), mend: heal},
	}
}

package main

import (
	"context"

	"github.com/weft-net/weft/driver/dns"
)

// openSandbox fits the data plane to the server of names.
func (d *daemon) openSandbox(ctx context.Context, path string) (dns.Sandbox, error) {
	r, err := d.kernel.OpenResolver(ctx, path)
	if err != nil {
		return nil, err
	}
	return r, nil
}

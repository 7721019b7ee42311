package dataplane

import "github.com/weft-net/weft/driver/overlay"

type members struct{}

func (d *Dataplane) setMembers(cfg overlay.Config, verify bool) ([]string, error) { return nil, nil }
func (p *pass) guard(old applied) error                                          { return nil }

package main

import (
	"fmt"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

// mtus tells when a network in which this host has containers gets a smaller MTU.
type mtus struct {
	log logrus.FieldLogger
	was overlay.Bounds
}

// note takes what is planned from next. It is called by one goroutine.
func (m *mtus) note(s overlay.Snapshot) {
	now := overlay.BoundsOf(s)
	for _, id := range now.Below(m.was) {
		was, bound := m.was[id].MTU, now[id]
		n := s.Networks[id]
		m.log.WithFields(logrus.Fields{"network": n.Title(), "id": id, "host": bound.Host, "was": was, "mtu": bound.MTU}).Warn(fmt.Sprintf(
			"The MTU of network %q goes down from %d to %d for its containers here, since the underlay of host %s leaves no more: create the network with -o %s=%d to have it fixed.",
			n.Title(), was, bound.MTU, bound.Host, option.MTU, was))
	}
	m.was = now
}

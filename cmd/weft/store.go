package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
)

// openCluster opens the store that --store names. It connects to nothing.
// self is this host's address for the store's catalog; requests hears of each
// request to Consul.
func openCluster(cfg config, self netip.Addr, log logrus.FieldLogger, requests func(string, time.Duration, error)) (kvstore.Store, error) {
	if cfg.bolt == "" {
		return consul.Open(consul.Config{
			Addresses: cfg.consul, Host: cfg.Host, Prefix: cfg.prefix, NodeAddress: self.String(), Log: log, OnRequest: requests,
		})
	}
	s, err := openBolt(cfg.bolt, log)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return s, nil
}

// via is the store's first address, if it is a literal one: the interface towards it
// is this host's underlay unless --advertise says otherwise.
func (c *config) via() netip.Addr {
	if len(c.consul) == 0 {
		return netip.Addr{}
	}
	at, err := netip.ParseAddrPort(c.consul[0])
	if err != nil || at.Addr().IsLoopback() {
		return netip.Addr{} // a name, or an agent on this host: the default route then
	}
	return at.Addr()
}

package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/docker/go-plugins-helpers/network"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
)

func (d *Driver) createNetwork(ctx context.Context, req *network.CreateNetworkRequest) (*plugin.None, error) {
	if req.NetworkID == "" {
		return nil, errors.New("create network: Docker named no network id")
	}
	want, err := parseOptions(req.Options)
	if err != nil {
		return nil, fmt.Errorf("create network: %w", err)
	}
	for _, data := range append(req.IPv4Data, req.IPv6Data...) {
		s, err := d.subnet(data)
		if err != nil {
			return nil, fmt.Errorf("create network: %w", err)
		}
		want.Subnets = append(want.Subnets, s)
	}
	if len(want.Subnets) == 0 {
		return nil, errors.New("create network: it has no subnet: weft's overlay networks need one")
	}
	if err := d.check(req.NetworkID, want); err != nil {
		return nil, fmt.Errorf("create network: %w", err)
	}
	n, err := d.registry.Create(ctx, req.NetworkID, want)
	if err != nil {
		return nil, fmt.Errorf("create network: %w", err)
	}
	log := d.log.WithFields(logrus.Fields{"network": n.Name, "id": n.ID, "docker": req.NetworkID, "vni": n.VNI})
	log.Info("Network created on this host.")
	if n.Host != d.registry.Self().Name { // then that host's log has said the rest
		return &plugin.None{}, nil
	}
	for _, j := range option.Those(want, option.Ignored) {
		log.WithFields(logrus.Fields{"option": j.Key, "value": j.Value, "why": j.Why}).Warn("An option of the network is ignored.")
	}
	return &plugin.None{}, nil
}

// check refuses what weft would not keep of a network that a person asks for. A
// network that the cluster has must be on every host, whatever it promises: the
// option that it has then is shown by weft network inspect and weft doctor.
func (d *Driver) check(dockerID string, want overlay.Network) error {
	n, mirrored := d.registry.Recorded(dockerID, want)
	if mirrored {
		return nil
	}
	if err := checkPromises(want, n); err != nil {
		return err
	}
	if n.ID != "" { // its MTU is what it was created with
		return nil
	}
	return d.checkMTU(want.MTU)
}

// subnet parses one pool of Docker's. A pool that is not weft's is refused:
// only weft's own IPAM keeps addresses unique among hosts.
func (d *Driver) subnet(data *network.IPAMData) (overlay.Subnet, error) {
	if data == nil {
		return overlay.Subnet{}, errors.New("a subnet is null")
	}
	prefix, err := netip.ParsePrefix(data.Pool)
	if err != nil {
		return overlay.Subnet{}, fmt.Errorf("subnet %q is no prefix like 10.1.0.0/16", data.Pool)
	}
	s, ours := d.pools.Subnet(prefix.Masked())
	if !ours {
		return s, fmt.Errorf("subnet %s is not from weft's address pool, so its addresses would not be unique among hosts: create the network with --ipam-driver %s", prefix, d.name)
	}
	if data.Gateway != "" {
		gateway, err := netip.ParsePrefix(data.Gateway)
		if err != nil || !s.Prefix.Contains(gateway.Addr()) {
			return s, fmt.Errorf("gateway %q is no address in subnet %s", data.Gateway, prefix)
		}
		s.Gateway = gateway.Addr()
	}
	for name, v := range data.AuxAddresses {
		text, _ := v.(string)
		aux, err := parseAddr(text)
		if err != nil || !s.Prefix.Contains(aux) {
			return s, fmt.Errorf("aux-address %s=%v is no address in subnet %s", name, v, prefix)
		}
		if s.Aux == nil {
			s.Aux = map[string]netip.Addr{}
		}
		s.Aux[name] = aux
	}
	return s, nil
}

// checkMTU refuses an MTU that this host's underlay cannot carry.
func (d *Driver) checkMTU(mtu int) error {
	self := d.registry.Self()
	most := self.MTU - overlay.Overhead(self.VTEP)
	if mtu > most {
		return fmt.Errorf("option %s=%d is refused: the underlay's MTU of %d leaves %d for the overlay; leave it out to follow the underlay", mtuKey, mtu, self.MTU, most)
	}
	return nil
}

func (d *Driver) deleteNetwork(ctx context.Context, req *network.DeleteNetworkRequest) (*plugin.None, error) {
	n, known := d.registry.OfDocker(req.NetworkID)
	if err := d.registry.Delete(ctx, req.NetworkID); err != nil {
		return nil, fmt.Errorf("delete network %.12s: %w", req.NetworkID, err)
	}
	if known {
		d.log.WithFields(logrus.Fields{"network": n.Name, "id": n.ID, "docker": req.NetworkID}).Info("Network removed on this host.")
	}
	return &plugin.None{}, nil
}

// parseAddr reads an address with or without its subnet's length.
func parseAddr(s string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Addr(), nil
	}
	return netip.ParseAddr(s)
}

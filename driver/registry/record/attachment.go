package record

import (
	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
)

// DecodeAttachment decodes what the host has in the network, or says with a
// format.Fault why it cannot be used.
func DecodeAttachment(host, network string, value []byte) (overlay.Attachment, error) {
	at, err := format.Decode[overlay.Attachment](value)
	if err == nil {
		err = CheckAttachment(host, network, at)
	}
	if err != nil {
		return overlay.Attachment{}, err
	}
	return at, nil
}

// CheckAttachment says which value of an attachment cannot be.
func CheckAttachment(host, network string, at overlay.Attachment) error {
	if at.Host != host || at.Network != network || !overlay.ValidID(network) {
		return format.Faultf(format.Senseless, "is of host %.60q and network %.60q", at.Host, at.Network)
	}
	if at.Reader > format.Current {
		return format.Faultf(format.Newer, "is for a weft of format %d or later, and this one has format %d: update weft on this host", at.Reader, format.Current)
	}
	for _, a := range at.Stock {
		if !reachable(a) || !a.IsValid() {
			return format.Faultf(format.Senseless, "has the address %v in stock", a)
		}
	}
	for _, e := range at.Endpoints {
		if e.ID == "" || e.MAC == (overlay.MAC{}) {
			return format.Faultf(format.Senseless, "has endpoint %.12q with MAC address %v", e.ID, e.MAC)
		}
		for _, a := range e.Addrs {
			if !reachable(a) || !a.IsValid() {
				return format.Faultf(format.Senseless, "has the address %v for endpoint %.12s", a, e.ID)
			}
		}
	}
	return nil
}

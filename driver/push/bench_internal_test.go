package push

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/peers"
)

var benchKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// crowd is a registry of a host with many peers, all at one address.
type crowd struct {
	Registry
	self  overlay.Host
	peers []overlay.Host
}

func (c crowd) Self() overlay.Host { return c.self }
func (c crowd) Keys() registry.Keys {
	return registry.Keys{Cluster: "c", Ring: keys.Ring{Keys: []string{key(1)}}}
}
func (c crowd) Contact() registry.Contact { return registry.Contact{Since: time.Now()} }
func (c crowd) Runs() uint64              { return 1 }
func (c crowd) Sign(t []byte) []byte      { return ed25519.Sign(benchKey, t) }
func (c crowd) Seq() uint64               { return 1234 }
func (c crowd) PushPeers() []overlay.Host { return c.peers }
func (c crowd) PushPeer(string) (overlay.Host, bool) {
	host := c.peers[0]
	host.Key = base64.StdEncoding.EncodeToString(benchKey.Public().(ed25519.PublicKey))
	return host, true
}
func (c crowd) Heard(peers.Beat) bool         { return true }
func (c crowd) Missing(string) (uint64, bool) { return 0, false }

// BenchmarkBeats200 is what one second of a cluster of 201 hosts costs each of
// them: to say 200 times that it lives, and to hear it 200 times.
func BenchmarkBeats200(b *testing.B) {
	sink, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	c := crowd{self: overlay.Host{Name: "h0", Incarnation: "0123456789ab"}}
	for i := range 200 {
		c.peers = append(c.peers, overlay.Host{Name: fmt.Sprintf("h%d", i+1), Push: sink.LocalAddr().(*net.UDPAddr).AddrPort()})
	}
	log, _ := test.NewNullLogger()
	p := New(Config{Registry: c, Log: log})
	conn, err := ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	plain, err := message{Kind: beat, Host: "h1", Incarnation: "0123456789ab", Number: 1 << 40, Seq: 1234, StoreOK: true, StoreFor: 1e6}.encode()
	if err != nil {
		b.Fatal(err)
	}
	box := p.sealer()
	sealed := box.seal(box.sign(plain, forDatagram, c.Sign), forDatagram, overlay.Keys{})
	for b.Loop() {
		p.sendBeat(conn, p.beat(false))
		for range c.peers {
			if err := p.take(context.Background(), sealed, netip.AddrFrom4([4]byte{127, 0, 0, 1})); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(sealed)), "bytes/beat")
}

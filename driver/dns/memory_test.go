package dns_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/dns"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// opener makes the data plane's resolvers sandboxes.
type opener struct{ *dataplane.Dataplane }

func (o opener) open(ctx context.Context, path string) (dns.Sandbox, error) {
	r, err := o.OpenResolver(ctx, path)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// What a sandbox costs while nobody asks.
func BenchmarkMemoryPerSandbox(b *testing.B) {
	const sandboxes = 200
	log := logrus.New()
	log.SetOutput(io.Discard)
	dir := b.TempDir() // becomes a mount
	b.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	dp, err := dataplane.New(dataplane.Options{Log: log, NetnsDir: dir, HostNetns: netns.New(b).Path()})
	if err != nil {
		b.Fatal(err)
	}
	defer dp.Close()
	snapshot := overlay.Snapshot{Networks: map[string]overlay.Network{"n": {ID: "n", Name: "net"}}}
	for i := range sandboxes {
		snapshot.Local = append(snapshot.Local, overlay.Endpoint{
			ID: fmt.Sprint(i), Network: "n", Name: fmt.Sprint("c", i), Phase: overlay.Joined,
			Sandbox: netns.New(b).Path(), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})},
		})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	server := dns.New(dns.Config{
		Snapshot: func() overlay.Snapshot { return snapshot },
		Changes:  func() (<-chan struct{}, func()) { return nil, func() {} },
		Open:     opener{dp}.open, Log: log, Renew: 200 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	began := time.Now()
	go func() { done <- server.Run(ctx) }()
	for server.Status().Answering < sandboxes {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/sandboxes, "open-µs/sandbox")
	time.Sleep(time.Second) // some renewals
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse
	b.ReportMetric(float64(used)/1024/sandboxes, "KiB/sandbox")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

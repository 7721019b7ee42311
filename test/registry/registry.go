// Package registry serves a registry of images and plugins on a lab's host.
package registry

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/weft-net/weft/test/lab"
)

// Address is where a host's own Docker finds the registry: on its loopback, where
// Docker asks for no certificate.
const Address = "127.0.0.1:5000"

// Serve runs an empty registry on the host until the test ends.
func Serve(t *testing.T, h *lab.Host) {
	t.Helper()
	var listener net.Listener
	err := lab.Inside(h.Netns(), func() (err error) {
		listener, err = new(net.ListenConfig).Listen(context.WithoutCancel(t.Context()), "tcp", Address)
		return err
	})
	if err != nil {
		t.Fatalf("a registry on %s: %v", h.Name(), err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

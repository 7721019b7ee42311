package registry_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// Who is told that a host leaves must not find it back, so a host that cannot
// tell the store refuses, at the first moment too.
func TestNoHostLeavesWithoutTheStore(t *testing.T) {
	cluster := &cutStore{Store: registrytest.OpenStore(t, "cluster.db")}
	h1 := newMachine(t, "h1", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("rebuild", h1.Rebuilt(t.Context())) // it is new, and has lost nothing
	eventually(t, "it may leave", func() bool { return h1.MayLeave(t.Context(), false) == nil })

	cluster.away.Store(true)
	for _, force := range []bool{false, true} {
		err := h1.MayLeave(t.Context(), force)
		if !errors.Is(err, kvstore.ErrUnavailable) || !strings.Contains(err.Error(), "`weft host forget h1` on another host") {
			t.Errorf("without a store, forced: %v, it is told %v", force, err)
		}
	}
	cluster.away.Store(false)
	eventually(t, "it may leave again", func() bool { return h1.MayLeave(t.Context(), false) == nil })

	h1.join("e1", n.ID, "10.1.0.2")
	if err := h1.MayLeave(t.Context(), false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("with a container it is told %v", err)
	}
	h1.do("leave by force", h1.MayLeave(t.Context(), true))
}

package registry_test

import (
	"errors"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
)

// Docker's request for a network of the cluster is told from a person's for the
// same subnet and VNI by its being expected.
func TestNetworkIsKnownByItsVNIWhileItIsMirrored(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 sees the network", func() bool { return h2.sees("net") })

	same := overlay.Network{VNI: n.VNI, Subnets: n.Subnets}
	refused := func(when string, want overlay.Network) {
		t.Helper()
		if _, err := h2.Create(t.Context(), "d2", want); !errors.Is(err, registry.ErrTaken) {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("before", same)
	asks := func(when string, mirrored bool) {
		t.Helper()
		got, is := h2.Recorded("d2", same)
		if is != mirrored || mirrored && got.ID != n.ID {
			t.Errorf("%s it counts as mirrored: %v, of %q", when, is, got.ID)
		}
	}
	asks("before", false)
	done := h2.Mirroring(n.ID)
	asks("meanwhile", true)
	refused("without its VNI", overlay.Network{Subnets: n.Subnets})
	refused("with another VNI", overlay.Network{VNI: n.VNI + 1, Subnets: n.Subnets})
	if got := h2.create("d2", same); got.ID != n.ID {
		t.Errorf("joined %+v", got)
	}
	done()
	asks("when it is here", true)
	h2.do("detach", h2.Detach(t.Context(), "d2"))
	refused("afterwards", same)
}

// A network that is removed while Docker is asked for its copy does not come
// back as a new one of the same subnet and VNI.
func TestNetworkRemovedWhileItIsMirrored(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 sees the network", func() bool { return h2.sees("net") })
	done := h2.Mirroring(n.ID)
	defer done()
	h1.do("remove", h1.Delete(t.Context(), "d1"))
	eventually(t, "h2 sees the removal", func() bool { return !h2.sees("net") })
	if got, err := h2.Create(t.Context(), "d2", overlay.Network{VNI: n.VNI, Subnets: n.Subnets}); err == nil {
		t.Errorf("it came back as %+v", got)
	}
}

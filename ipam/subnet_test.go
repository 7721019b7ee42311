package ipam

import "testing"

// A subnet that a person has named is told from one that weft has drawn, also after a
// restart and on hosts that mirror its network.
func TestWhoHasNamedTheSubnet(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	named, drawn := h.mustPool("10.1.0.0/24", ""), h.mustPool("", "")
	for _, when := range []string{"at once", "after a restart"} {
		if s, ours := h.Subnet(named.Subnet); !ours || !s.Chosen || s.Prefix != named.Subnet {
			t.Errorf("%s the named one is %+v, %v", when, s, ours)
		}
		if s, ours := h.Subnet(drawn.Subnet); !ours || s.Chosen {
			t.Errorf("%s the drawn one is %+v, %v", when, s, ours)
		}
		h.open()
	}
	s, _ := h.Subnet(named.Subnet)
	other := newHost(t, "h2", h.cluster)
	other.mirror("n", s)
	if s, _ := other.Subnet(named.Subnet); !s.Chosen {
		t.Errorf("where it is mirrored it is %+v", s)
	}
}

package lab

import "testing"

func TestVariant(t *testing.T) {
	for program, want := range map[string]string{
		"iptables":          "iptables-legacy",
		"ip6tables-save":    "ip6tables-legacy-save",
		"ip6tables-restore": "ip6tables-legacy-restore",
	} {
		if got := variant(program, "legacy"); got != want {
			t.Errorf("%s is %s, want %s", program, got, want)
		}
	}
}

func TestAnUnknownIptablesIsRefused(t *testing.T) {
	for kind, fine := range map[string]bool{"": true, "legacy": true, "nft": true, "bpf": false} {
		if err := (settings{Iptables: kind}).checkIptables(); (err == nil) != fine {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

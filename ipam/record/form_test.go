package record

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam/claim"
)

// What is recorded keeps its form: other versions of weft read and write it too.
func TestFormOfRecords(t *testing.T) {
	at := time.Unix(1_700_000_000, 0).UTC()
	subnet, addr := netip.MustParsePrefix("10.1.0.0/24"), netip.MustParseAddr("10.1.0.7")
	pool := Pool{Subnet: subnet, Gateway: addr, Chosen: true, Host: "h1", At: at}
	for _, test := range []struct {
		record any
		want   string
	}{
		{pool, `{"subnet":"10.1.0.0/24","gateway":"10.1.0.7","chosen":true,"host":"h1","at":"2023-11-14T22:13:20Z"}`},
		{
			Held{Pool: pool, Count: 2, Attached: true, At: at},
			`{"pool":{"subnet":"10.1.0.0/24","gateway":"10.1.0.7","chosen":true,"host":"h1","at":"2023-11-14T22:13:20Z"},"count":2,"attached":true,"at":"2023-11-14T22:13:20Z"}`,
		},
		{
			claim.Claim{State: claim.InUse, At: at, Explicit: true, Born: claim.Birth{Epoch: 3, Revision: 4}, Lost: "h2"},
			`{"state":"used","at":"2023-11-14T22:13:20Z","explicit":true,"born":{"e":3,"r":4},"lost":"h2"}`,
		},
		{claim.Claim{State: claim.InStock, At: at}, `{"state":"stock","at":"2023-11-14T22:13:20Z"}`},
		{claim.Claim{State: claim.Leaving, At: at}, `{"state":"leaving","at":"2023-11-14T22:13:20Z"}`},
		{
			claim.Holder{Host: "h1", Incarnation: "i", Birth: claim.Birth{Epoch: 3, Revision: 4}, Rest: map[string]json.RawMessage{"new": []byte("1")}},
			`{"h":"h1","i":"i","e":3,"r":4,"new":1}`,
		},
	} {
		if got := string(Encode(test.record)); got != test.want {
			t.Errorf("%T is recorded as\n%s, want\n%s", test.record, got, test.want)
		}
	}
	for got, want := range map[string]string{
		PoolKey(subnet):        "pool/10.1.0.0_24",
		AddrKey(subnet, addr):  "addr/10.1.0.0_24/10.1.0.7",
		HeldKey(subnet):        "ipam/pool/10.1.0.0_24",
		ClaimKey(subnet, addr): "ipam/claim/10.1.0.0_24/10.1.0.7",
		AddrsPrefix(subnet):    "addr/10.1.0.0_24/",
		PoolSeq:                "pool/.seq",
	} {
		if got != want {
			t.Errorf("the key is %s, want %s", got, want)
		}
	}
}

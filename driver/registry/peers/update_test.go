package peers

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/keys"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// doc is h2's record, with the networks as "id=digest".
func doc(seq uint64, networks ...string) record.HostDoc {
	out := record.HostDoc{Seq: seq, Runs: 1, Digests: map[string]string{}, Host: overlay.Host{Name: "h2", Incarnation: "i"}}
	for _, n := range networks {
		id, digest, _ := strings.Cut(n, "=")
		out.Digests[id] = digest
	}
	return out
}

// at is a document of h2's.
func at(network, digest string, seq uint64) Document {
	return Document{Attachment: overlay.Attachment{Network: network, Host: "h2", Incarnation: "i", Seq: seq}, Digest: digest}
}

// known are the documents of h2 as "id=digest", sorted.
func known(p *Peers) []string {
	var out []string
	for id, d := range p.docs["h2"] {
		out = append(out, id+"="+d.Digest)
	}
	slices.Sort(out)
	return out
}

func update(t *testing.T, p *Peers, u record.HostUpdate, fetched ...Document) Updated {
	t.Helper()
	out, err := p.Update(map[string]record.HostUpdate{"h2": u}, time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Reading().Read(fetched...); err != nil {
		t.Fatal(err)
	}
	return out
}

// Which of two documents counts, whichever way each came.
func TestWhichDocumentIsNewer(t *testing.T) {
	for name, c := range map[string]struct {
		pushed Document
		record record.HostDoc // that the store has then
		read   []Document
		want   []string
	}{
		"the store has the next one":             {at("a", "2", 2), doc(3, "a=3"), []Document{at("a", "3", 3)}, []string{"a=3"}},
		"the store lags":                         {at("a", "2", 2), doc(1, "a=1"), []Document{at("a", "1", 1)}, []string{"a=2"}},
		"the store has not heard of the network": {at("a", "2", 2), doc(1), nil, []string{"a=2"}},
		"the network was withdrawn":              {at("a", "2", 2), doc(3), nil, nil},
		"another one came by the store":          {at("a", "2", 2), doc(3, "a=2", "b=3"), []Document{at("b", "3", 3)}, []string{"a=2", "b=3"}},
	} {
		p := New(overlay.Host{Name: "h1"}, 0)
		update(t, p, record.HostUpdate{Doc: doc(1, "a=1"), Live: true}, at("a", "1", 1))
		if news, err := p.Receive(c.pushed, 1); err != nil || !news {
			t.Errorf("%s: what was pushed is news: %v, %v", name, news, err)
		}
		update(t, p, record.HostUpdate{Doc: c.record, Live: true}, c.read...)
		if diff := cmp.Diff(c.want, known(p)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhatIsPushedTwiceOrInAnyOrder(t *testing.T) {
	p := New(overlay.Host{Name: "h1"}, 0)
	update(t, p, record.HostUpdate{Doc: doc(0), Live: true})
	gone := at("a", "", 3)
	gone.Gone = true
	for _, c := range []struct {
		doc    Document
		after  uint64
		news   bool
		synced uint64
	}{
		{at("a", "1", 1), 0, true, 1},
		{at("a", "1", 1), 0, false, 1},
		{gone, 2, true, 1},
		{at("a", "2", 2), 1, false, 2}, // late: it is withdrawn by now
		{gone, 2, false, 3},
		{at("b", "4", 4), 3, true, 4},
	} {
		news, err := p.Receive(c.doc, c.after)
		if synced, _ := p.Missing("h2"); err != nil || news != c.news || synced != c.synced {
			t.Errorf("document %d of network %s: news %v, and all up to %d has come, %v", c.doc.Seq, c.doc.Network, news, synced, err)
		}
	}
	if diff := cmp.Diff([]string{"b=4"}, known(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := p.Receive(at("b", "9", 5+mostAhead), 4); err == nil {
		t.Error("a number far above that of the host's record counts")
	}
}

// What a host that left, or was declared dead, has to go through before it counts again.
func TestAHostThatReturns(t *testing.T) {
	left := record.HostDoc{Left: true, Host: overlay.Host{Name: "h2", Keys: overlay.Keys{Newest: "k"}}}
	p := New(overlay.Host{Name: "h1"}, 0)
	update(t, p, record.HostUpdate{Doc: doc(1, "a=1"), Live: true, Lease: 1}, at("a", "1", 1))
	for i, c := range []struct {
		what   string
		update record.HostUpdate
		here   bool
		down   bool
	}{
		{"it has its lease", record.HostUpdate{Doc: doc(1, "a=1"), Live: true, Lease: 1}, true, false},
		{"it has left", record.HostUpdate{Doc: left}, false, false},
		{"it is back without a lease", record.HostUpdate{Doc: doc(2)}, true, true},
		{"it has its lease again", record.HostUpdate{Doc: doc(2), Live: true, Lease: 2}, true, false},
		{"it is marked dead", record.HostUpdate{Doc: doc(2), Lease: 2, Marked: true}, true, true},
		{"its mark is gone, and it has no lease", record.HostUpdate{Doc: doc(2), Lease: 2}, true, true},
		{"it has its lease once more", record.HostUpdate{Doc: doc(2), Live: true, Lease: 3}, true, false},
	} {
		out := update(t, p, c.update)
		host, here := p.Peer("h2")
		if here != c.here || host.Down != c.down {
			t.Errorf("%d, %s: known %v, down %v", i, c.what, here, host.Down)
		}
		if gone := out.Left["h2"].Newest == "k"; gone == c.here {
			t.Errorf("%d, %s: left %v", i, c.what, out.Left)
		}
	}
	if len(known(p)) > 0 {
		t.Errorf("what it had before it left is still known: %v", known(p))
	}
}

// A record that cannot be used says nothing, and neither does one that is missing; but
// the lease counts.
func TestARecordThatSaysNothing(t *testing.T) {
	for name, u := range map[string]map[string]record.HostUpdate{
		"it cannot be used": {"h2": {Unread: true}},
		"it is missing":     {},
	} {
		p := New(overlay.Host{Name: "h1"}, 0)
		update(t, p, record.HostUpdate{Doc: doc(1, "a=1"), Live: true, Lease: 1}, at("a", "1", 1))
		out, err := p.Update(u, time.Unix(2000, 0))
		host, here := p.Peer("h2")
		if err != nil || !here || host.Live || host.Seq != 1 || len(known(p)) != 1 {
			t.Errorf("%s: known %v, live %v, with %v, %v", name, here, host.Live, known(p), err)
		}
		if len(out.Ops) > 0 {
			t.Errorf("%s: it makes writes: %v", name, out.Ops)
		}
	}
}

func TestASignOfLifeOfAnUnknownHost(t *testing.T) {
	p := New(overlay.Host{Name: "h1", Push: netip.MustParseAddrPort("192.0.2.1:1")}, 0)
	b := Beat{Host: "h2", Incarnation: "i", Number: 1<<32 + 1}
	if p.Hear(b, keys.Ring{}, time.Unix(1000, 0)).Counts {
		t.Error("a host that the store has not told of counts")
	}
	update(t, p, record.HostUpdate{Doc: doc(1)})
	if !p.Hear(b, keys.Ring{}, time.Unix(1000, 0)).Counts || !p.Hears("h2") {
		t.Error("a host that the store has told of does not count")
	}
	if p.Hear(b, keys.Ring{}, time.Unix(1001, 0)).Counts {
		t.Error("the same message counts twice")
	}
}

package peers

import (
	"slices"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// epochs are the epochs in which the other hosts count as having recorded again what
// they have.
func epochs(p *Peers) (out []string) {
	for doc := range p.Docs() {
		out = append(out, doc.Epoch)
	}
	return out
}

// A host's record counts at once, and its documents as they come; until all of them were
// looked at it counts as a host of no epoch, also if the record changes meanwhile.
func TestWhatIsToBeRead(t *testing.T) {
	p := New(overlay.Host{Name: "h1"}, 0)
	in := func(doc record.HostDoc) record.HostUpdate {
		doc.Epoch = "e"
		return record.HostUpdate{Doc: doc, Live: true}
	}
	update(t, p, in(doc(2, "a=1", "b=2")))
	first := p.Reading().Wanted()
	if host, known := p.Peer("h2"); !known || !host.Live || len(first) != 1 || !slices.Equal(first[0].Networks, []string{"a", "b"}) {
		t.Fatalf("of a host with the record %v is wanted %v", host, first)
	}
	if _, err := p.Reading().Read(at("a", "1", 1), at("c", "9", 9)); err != nil {
		t.Fatal(err)
	}
	if got := known(p); !slices.Equal(got, []string{"a=1"}) || epochs(p)[0] != "" {
		t.Errorf("one of two documents and one that is not named: %v in the epochs %q", got, epochs(p))
	}
	update(t, p, in(doc(3, "a=1", "b=3")))
	p.Reading().Looked(first[0])
	second := p.Reading().Wanted()
	if len(second) != 1 || !slices.Equal(second[0].Networks, []string{"b"}) || epochs(p)[0] != "" {
		t.Fatalf("after another record, of which nothing was read: %v is wanted, in the epochs %q", second, epochs(p))
	}
	p.Reading().Looked(second[0]) // it is there and cannot be used
	if got := p.Reading().Wanted(); len(got) > 0 || epochs(p)[0] != "e" {
		t.Errorf("all was looked at: %v is wanted, in the epochs %q", got, epochs(p))
	}
	update(t, p, in(doc(3, "a=1", "b=3")))
	if got := p.Reading().Wanted(); len(got) != 1 {
		t.Errorf("the next time the record is seen: %v is wanted", got)
	}
	if news, err := p.Receive(at("b", "3", 3), 2); err != nil || !news {
		t.Errorf("the same document directly is news: %v, %v", news, err)
	}
	if got := p.Reading().Wanted(); len(got) != 1 || len(got[0].Networks) > 0 {
		t.Errorf("the document has come directly: %v is wanted", got)
	}
}

// A host that pushes nothing need not number its documents.
func TestADocumentWithoutANumberCounts(t *testing.T) {
	p := New(overlay.Host{Name: "h1"}, 0)
	update(t, p, record.HostUpdate{Doc: doc(0, "a=1"), Live: true})
	if _, err := p.Reading().Read(at("a", "1", 0)); err != nil {
		t.Fatal(err)
	}
	if got := known(p); !slices.Equal(got, []string{"a=1"}) {
		t.Errorf("of h2 is known %v", got)
	}
}

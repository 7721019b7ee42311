package dataplane_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Names that only weft knows are not asked out in the world when weft is gone.
func TestNamesAreRefusedByTheStandIn(t *testing.T) {
	for name, rules := range dockerRules {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, rules)
			r := newResolver(t, s)
			var names [][]byte
			long := strings.Repeat("long-", 10) + "." + strings.Repeat("long-", 10) + ".net."
			for _, n := range []string{"far.", "far.net.", "other.", "a-name-of-more-than-16-bytes.net.", long} {
				names = append(names, wire(t, n))
			}
			intercept(t, r, time.Minute)
			if err := r.StandIn(names, time.Minute); err != nil {
				t.Fatal(err)
			}
			if got := s.query("far."); got != "weft" {
				t.Errorf("far is answered by %q while weft is there", got)
			}
			if got := s.marked("far."); got != "docker" {
				t.Errorf("weft's own query is answered by %q", got)
			}
			// Some change.
			if err := r.StandIn(append(names[:2:2], append(names[3:], wire(t, "new."))...), time.Minute); err != nil {
				t.Fatal(err)
			}
			r.Abandon()
			r.UDP().Close()
			r.TCP().Close()
			for name, want := range map[string]string{
				"far.": "SERVFAIL", "FAR.": "SERVFAIL", "far.net.": "SERVFAIL", "new.": "SERVFAIL", "a-Name-of-more-than-16-bytes.net.": "SERVFAIL", long: "SERVFAIL",
				"other.": "docker", "fa.": "docker", "farr.": "docker", "far.net.org.": "docker", "x.far.": "docker", "org.": "docker",
			} {
				for range 3 {
					if got := s.query(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
			}
			// The next process.
			next := newResolver(t, s)
			intercept(t, next, time.Minute)
			if got := s.query("far."); got != "weft" {
				t.Errorf("far is answered by %q when weft is back", got)
			}
			if err := next.StandIn(nil, time.Minute); err != nil {
				t.Fatal(err)
			}
			if err := next.Close(); err != nil {
				t.Fatal(err)
			}
			if got := s.query("far."); got != "docker" {
				t.Errorf("far is answered by %q when weft has ended", got)
			}
		})
	}
}

func TestTheStandInEndsByItself(t *testing.T) {
	s := newSandbox(t, dockerRules["nftables"])
	r := newResolver(t, s)
	if err := r.StandIn([][]byte{wire(t, "far.")}, 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got := s.query("far."); got != "SERVFAIL" {
		t.Error(got)
	}
	for end := time.Now().Add(5 * time.Second); s.query("far.") != "docker"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not end")
		}
	}
}

// wire is a name as it is in queries.
func wire(tb testing.TB, name string) []byte {
	tb.Helper()
	buf := make([]byte, 255)
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		tb.Fatal(err)
	}
	return buf[:n]
}

func (s sandbox) query(name string) string { return s.queryMarked(name, 0) }

// marked is a query of weft's own.
func (s sandbox) marked(name string) string { return s.queryMarked(name, 0x77) }

// queryMarked gives the word, or the code, that comes back for a query by UDP.
func (s sandbox) queryMarked(name string, mark int) string {
	s.tb.Helper()
	var c net.Conn
	s.Do(func() (err error) {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		}}
		c, err = d.Dial("udp4", "127.0.0.11:53")
		return err
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	q := new(dns.Msg).SetQuestion(name, dns.TypeA).SetEdns0(1232, false)
	msg, err := q.Pack()
	if err != nil {
		s.tb.Fatal(err)
	}
	if _, err := c.Write(msg); err != nil {
		return err.Error()
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil {
		return err.Error()
	}
	var m dns.Msg
	if err := m.Unpack(buf[:n]); err != nil || n < 12 {
		return string(buf[:n]) // a word
	}
	if m.Id != q.Id || !m.Response || len(m.Question) != 1 || m.Question[0].Name != name {
		s.tb.Errorf("%s: the answer is %s", name, &m)
	}
	return dns.RcodeToString[m.Rcode]
}

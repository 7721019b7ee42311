package consul_test

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
)

func TestParseURL(t *testing.T) {
	for _, test := range []struct {
		url       string
		addresses string // with commas
		prefix    string
	}{
		{"consul://c1", "c1:8500", "weft"},
		{"consul://c1/", "c1:8500", "weft"},
		{"consul://c1:8501", "c1:8501", "weft"},
		{"consul://192.0.2.1:8500,c2,[2001:db8::3]:8501,[2001:db8::4]/net/blue", "192.0.2.1:8500,c2:8500,[2001:db8::3]:8501,[2001:db8::4]:8500", "net/blue"},
		{"consul://c1/blue/", "c1:8500", "blue"},
		{"consul://[fe80::1%eth0]:8500", "[fe80::1%eth0]:8500", "weft"},
		{"consul://my_consul.internal:08500", "my_consul.internal:8500", "weft"},
	} {
		addresses, prefix, err := consul.ParseURL(test.url)
		if got := strings.Join(addresses, ","); err != nil || got != test.addresses || prefix != test.prefix {
			t.Errorf("ParseURL(%q) = %s %s %v, want %s %s", test.url, got, prefix, err, test.addresses, test.prefix)
		}
	}
}

var badURLs = []string{
	"", "consul", "consul:", "consul://", "consul:///weft", "http://c1:8500", "CONSUL://c1", "bolt:///x",
	"consul://c1,", "consul://,c1", "consul://c1,,c2", "consul://c1:", "consul://c1:0", "consul://c1:65536",
	"consul://c1:http", "consul://c1:8500:8500", "consul://2001:db8::1", "consul://[2001:db8::1", "consul://2001:db8::1]",
	"consul://[192.0.2.1]:8500", "consul://[2001:db8::1]8500", "consul://]", "consul://[]:8500",
	"consul://user@c1", "consul://c1?token=x", "consul://c1/weft?x", "consul://c1/weft#x", "consul://c1/a%2Fb",
	"consul://c1//weft", "consul://c1/../weft", "consul://c1/a//b", "consul://c1/ weft", "consul://c 1", "consul://-c1", "consul://c1/weft//",
}

func TestParseURLRefuses(t *testing.T) {
	for _, url := range badURLs {
		addresses, prefix, err := consul.ParseURL(url)
		if err == nil {
			t.Errorf("ParseURL(%q) = %v %s, want an error", url, addresses, prefix)
			continue
		}
		if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, strconv.Quote(url)) || !strings.Contains(s, "consul://HOST") {
			t.Errorf("ParseURL(%q) = %q, want one sentence with what is wrong and what is wanted", url, s)
		}
	}
}

// What ParseURL takes can be dialled and used as a prefix, and means itself.
func FuzzParseURL(f *testing.F) {
	for _, url := range badURLs {
		f.Add(url)
	}
	f.Add("consul://192.0.2.1:8500,c2,[2001:db8::3]:8501,[2001:db8::4]/net/blue")
	f.Add("consul://[fe80::1%eth0]:8500")
	f.Fuzz(func(t *testing.T, url string) {
		addresses, prefix, err := consul.ParseURL(url)
		if err != nil {
			return
		}
		for _, a := range addresses {
			host, port, err := net.SplitHostPort(a)
			n, nerr := strconv.Atoi(port)
			if err != nil || nerr != nil || host == "" || n < 1 || n > 65535 {
				t.Errorf("ParseURL(%q) has the address %q", url, a)
			}
		}
		if err := kvstore.CheckKey(prefix); err != nil || len(addresses) == 0 {
			t.Errorf("ParseURL(%q) = %v %q: %v", url, addresses, prefix, err)
		}
		again := "consul://" + strings.Join(addresses, ",") + "/" + prefix
		a, p, err := consul.ParseURL(again)
		if err != nil || !slices.Equal(a, addresses) || p != prefix {
			t.Errorf("ParseURL(%q) = %v %q, but ParseURL(%q) = %v %q %v", url, addresses, prefix, again, a, p, err)
		}
	})
}

package record

import "testing"

func FuzzParseAddrKey(f *testing.F) {
	f.Add("addr/10.1.0.0_24/10.1.0.7")
	f.Add("addr/fd00::_64/fd00::1%eth0")
	f.Fuzz(func(t *testing.T, key string) {
		subnet, a, err := ParseAddrKey(AddrPrefix, key)
		if err != nil {
			return
		}
		if p, b, err := ParseAddrKey(AddrPrefix, AddrKey(subnet, a)); err != nil || p != subnet || a != b {
			t.Errorf("%q becomes %v %v, then %v %v, %v", key, subnet, a, p, b, err)
		}
	})
}

package kvstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weft-net/weft/kvstore"
)

func TestCheckKey(t *testing.T) {
	for _, key := range []string{"a", "h/host-1", "n/x/a/2001:db8::1", "n/x/a/10.0.0.1", "a b", "ü", strings.Repeat("x", 512)} {
		if err := kvstore.CheckKey(key); err != nil {
			t.Errorf("CheckKey(%q) = %v", key, err)
		}
	}
	for _, key := range []string{"", "/", "/a", "a/", "a//b", "a/../b", ".", "a/.", " a", "a /b", "a\x00", "a\n", "\xff", strings.Repeat("x", 513)} {
		if err := kvstore.CheckKey(key); !errors.Is(err, kvstore.ErrInvalid) {
			t.Errorf("CheckKey(%q) = %v, want ErrInvalid", key, err)
		}
	}
}

func TestCheckPrefix(t *testing.T) {
	for _, prefix := range []string{"", "a", "a/", "a/b", "n/10."} {
		if err := kvstore.CheckPrefix(prefix); err != nil {
			t.Errorf("CheckPrefix(%q) = %v", prefix, err)
		}
	}
	for _, prefix := range []string{"/", "/a", "a//", "../"} {
		if err := kvstore.CheckPrefix(prefix); !errors.Is(err, kvstore.ErrInvalid) {
			t.Errorf("CheckPrefix(%q) = %v, want ErrInvalid", prefix, err)
		}
	}
}

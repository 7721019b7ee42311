package kvstore

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxKey is the most bytes of a key. Consul and bolt take far more; no key of
// weft's comes near.
const maxKey = 512

// CheckKey says with an ErrInvalid what is wrong with a key: it has 1 to 512
// bytes of printable UTF-8, and its parts between slashes are not empty, not
// "." and not "..", and have no space at their ends.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("key is empty: %w", ErrInvalid)
	case len(key) > maxKey:
		return fmt.Errorf("key %.20q... has %d bytes, at most %d are allowed: %w", key, len(key), maxKey, ErrInvalid)
	case !printable(key):
		return fmt.Errorf("key %q has characters that cannot be printed: %w", key, ErrInvalid)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." || strings.TrimSpace(part) != part {
			return fmt.Errorf("key %q has the part %q: %w", key, part, ErrInvalid)
		}
	}
	return nil
}

// CheckPrefix is CheckKey for a prefix: "", a key, or a key and a slash.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return CheckKey(strings.TrimSuffix(prefix, "/"))
}

// CheckOps says with an ErrInvalid why ops cannot be a transaction: a kind or
// key that is none, a DeleteCAS without a revision, more than MaxOps operations
// or more than MaxBytes bytes.
func CheckOps(ops []Op) error {
	if len(ops) > MaxOps {
		return fmt.Errorf("transaction has %d operations, at most %d are allowed: %w", len(ops), MaxOps, ErrInvalid)
	}
	bytes := 0
	for i, op := range ops {
		if op.Kind < Set || op.Kind > Check {
			return fmt.Errorf("operation %d on %q has no kind: %w", i, op.Key, ErrInvalid)
		}
		if err := CheckKey(op.Key); err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
		if op.Kind == DeleteCAS && op.Revision == 0 {
			return fmt.Errorf("operation %d on %q has no revision: %w", i, op.Key, ErrInvalid)
		}
		bytes += len(op.Key) + len(op.Value)
	}
	if bytes > MaxBytes {
		return fmt.Errorf("transaction has %d bytes, at most %d are allowed: %w", bytes, MaxBytes, ErrInvalid)
	}
	return nil
}

// CheckHold says with an ErrInvalid why a key cannot be held: CheckOps of its
// writing with the guards, or a guard that is no Check.
func CheckHold(key string, value []byte, guards []Op) error {
	for i, guard := range guards {
		if guard.Kind != Check {
			return fmt.Errorf("guard %d on %q is no Check: %w", i, guard.Key, ErrInvalid)
		}
	}
	return CheckOps(append([]Op{{Kind: Set, Key: key, Value: value}}, guards...))
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

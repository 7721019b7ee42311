package consultest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// The binary is looked for in the environment, then in PATH; without one the
// error says what to do.
func TestBinary(t *testing.T) {
	dir := t.TempDir()
	consul := filepath.Join(dir, "consul")
	if err := os.WriteFile(consul, []byte("#!/bin/sh\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("WEFT_CONSUL", "")
	t.Setenv("PATH", dir)
	if path, err := consultest.Binary(); err != nil || path != consul {
		t.Errorf("with consul in PATH: %s, %v, want %s", path, err, consul)
	}
	t.Setenv("WEFT_CONSUL", "/nonexistent/consul")
	if path, err := consultest.Binary(); err == nil || !strings.Contains(err.Error(), "/nonexistent/consul") {
		t.Errorf("with a WEFT_CONSUL that does not exist: %s, %v, want an error that names it", path, err)
	}
	t.Setenv("WEFT_CONSUL", "")
	t.Setenv("PATH", "")
	t.Chdir(dir)
	if path, err := consultest.Binary(); err == nil || !strings.Contains(err.Error(), "WEFT_CONSUL") {
		t.Errorf("without any: %s, %v, want an error that says what to do", path, err)
	}
}

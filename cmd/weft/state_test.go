package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/kvstore"
)

func TestDamagedFileIsKeptAside(t *testing.T) {
	log, hook := test.NewNullLogger()
	path := filepath.Join(t.TempDir(), stateFile)
	garbage := bytes.Repeat([]byte("no database"), 10_000)
	if err := os.WriteFile(path, garbage, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openBolt(path, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: "k", Value: []byte("v")}); err != nil {
		t.Errorf("the new file cannot be used: %v", err)
	}
	kept, err := filepath.Glob(path + ".corrupt-*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept are %q, %v", kept, err)
	}
	if have, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(have, garbage) {
		t.Errorf("the damaged file is not what it was: %d bytes, %v", len(have), err)
	}
	if e := hook.LastEntry(); e == nil || len(hook.AllEntries()) != 1 || e.Data["kept"] != kept[0] {
		t.Errorf("the log says %v", hook.AllEntries())
	}
}

func TestUnwritableStateIsRefused(t *testing.T) {
	log, _ := test.NewNullLogger()
	_, err := openBolt("/proc/weft/"+stateFile, log) // nobody can write there
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("the refusal is %v", err)
	}
}

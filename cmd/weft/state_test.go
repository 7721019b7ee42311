package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/format"
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

// A state that a later weft has written is refused before anything of it is changed: it
// is neither read in part nor set aside.
func TestStateOfALaterWeftIsRefused(t *testing.T) {
	for key, value := range map[string]string{
		"format":         `{"v":2}`,
		"endpoint/e1":    `{"id":["a","later","form"],"v":2}`,
		"ipam/claim/x/y": `{"w":2}`,
	} {
		log, hook := test.NewNullLogger()
		dir := t.TempDir()
		d := &daemon{cfg: config{StateDir: dir}, log: log}
		s, err := openBolt(d.cfg.statePath(), log)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Txn(t.Context(), kvstore.Op{Kind: kvstore.Set, Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(d.cfg.statePath())
		if err != nil {
			t.Fatal(err)
		}
		err = d.openStores(t.Context())
		d.close()
		if !errors.Is(err, format.ErrTooOld) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: the refusal is %v", key, err)
		}
		after, err := os.ReadFile(d.cfg.statePath())
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the state was changed (%v)", key, err)
		}
		if files, _ := os.ReadDir(dir); len(files) != 1 || len(hook.AllEntries()) != 0 {
			t.Errorf("%s: there are %v, and the log says %v", key, files, hook.AllEntries())
		}
	}
}

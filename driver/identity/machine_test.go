package identity_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/identity"
)

const id, board = "0123456789abcdef0123456789abcdef", "4C4C4544-0051-3010-8052-B4C04F4E3132"

func machine(t *testing.T, files map[string]string, file string) (identity.Machine, error) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if file != "" {
		file = filepath.Join(root, file)
	}
	return identity.Read(root, file)
}

// A machine is known by the same words however weft runs on it, and nobody learns
// the numbers from them.
func TestAMachineIsKnownHoweverWeftRuns(t *testing.T) {
	whole, err := machine(t, map[string]string{"etc/machine-id": id + "\n", "sys/class/dmi/id/product_uuid": board + "\n"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(whole.ID+whole.Board, id) || strings.Contains(strings.ToUpper(whole.Board), strings.ReplaceAll(board, "-", "")) || len(whole.ID) != 32 || len(whole.Board) != 32 {
		t.Errorf("the machine is called %+v", whole)
	}
	for name, files := range map[string]map[string]string{
		"in the managed plugin": {"host/etc/machine-id": id},
		"in a container":        {"sys/class/dmi/id/product_uuid": board},
		"in a new image":        {"etc/machine-id": "uninitialized\n", "var/lib/dbus/machine-id": id},
	} {
		m, err := machine(t, files, "")
		if same, known := m.Compare(whole); err != nil || !same || !known {
			t.Errorf("%s: the machine is %+v, %v, and not %+v", name, m, err, whole)
		}
	}
	unknown, err := machine(t, map[string]string{"etc/machine-id": "", "sys/class/dmi/id/product_uuid": "Not Settable"}, "")
	if err != nil || unknown.Known() {
		t.Errorf("nothing says which machine it is: %+v, %v", unknown, err)
	}
	if _, known := unknown.Compare(whole); known {
		t.Error("an unknown machine was compared")
	}
	copied := whole
	copied.Board = "another"
	if same, known := copied.Compare(whole); same || !known {
		t.Error("a copy with another board is taken for the same machine")
	}
}

func TestAFileMayNameTheMachine(t *testing.T) {
	files := map[string]string{"etc/machine-id": id, "own": strings.Repeat("ab", 16), "bad": "h1"}
	usual, err := machine(t, files, "")
	if err != nil {
		t.Fatal(err)
	}
	own, err := machine(t, files, "own")
	if same, _ := own.Compare(usual); err != nil || same {
		t.Errorf("the file was not read: %+v, %v", own, err)
	}
	for _, name := range []string{"bad", "absent"} {
		if _, err := machine(t, files, name); err == nil {
			t.Errorf("%s was taken for a machine's id", name)
		}
	}
}

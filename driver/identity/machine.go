package identity

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Machine is by what a machine is known: hashes, for the numbers themselves are
// secret (machine-id(5)). Which of them can be read depends on how weft runs.
type Machine struct {
	ID    string `json:"id,omitempty"`    // of the operating system's machine-id
	Board string `json:"board,omitempty"` // of the UUID that the firmware or the hypervisor gives
}

// application is weft's own 128-bit number, made with `systemd-id128 new`.
var application = [16]byte{0x5a, 0x0e, 0x6c, 0x1d, 0x93, 0x3b, 0x4f, 0x27, 0xb1, 0x88, 0x0f, 0x42, 0xd6, 0x75, 0x9e, 0x3c}

// Where the machine's own numbers are: /host/etc is the machine's /etc in the
// managed plugin; D-Bus had the number before systemd.
var (
	idFiles   = []string{"etc/machine-id", "host/etc/machine-id", "var/lib/dbus/machine-id"}
	boardFile = "sys/class/dmi/id/product_uuid"
)

var (
	digits = regexp.MustCompile(`^[0-9a-f]{32}$`)
	uuid   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// Read finds out which machine this is, below root, which is / but for tests. A
// file, if given, is read instead of those where systemd and D-Bus keep the
// machine's id.
func Read(root, file string) (Machine, error) {
	var m Machine
	if file != "" {
		id, err := number(file, digits)
		if err != nil {
			return m, fmt.Errorf("read this machine's id: %w", err)
		}
		m.ID = hash(id)
	}
	for _, path := range idFiles {
		if m.ID != "" {
			break
		}
		if id, err := number(filepath.Join(root, path), digits); err == nil {
			m.ID = hash(id)
		}
	}
	if board, err := number(filepath.Join(root, boardFile), uuid); err == nil {
		m.Board = hash(strings.ReplaceAll(board, "-", ""))
	}
	return m, nil
}

// number reads a file with one number. While an image has its first boot before
// it, machine-id is empty or says "uninitialized".
func number(path string, form *regexp.Regexp) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id := strings.ToLower(strings.TrimSpace(string(text)))
	if !form.MatchString(id) || strings.Trim(id, "0-") == "" {
		return "", fmt.Errorf("%s has no machine's id: that is 32 hexadecimal digits", path)
	}
	return id, nil
}

// hash is sd_id128_get_machine_app_specific(3) with weft's number: HMAC-SHA256
// with the machine's as key, cut to a UUID of version 4.
func hash(id string) string {
	key, err := hex.DecodeString(id)
	if err != nil {
		panic(fmt.Sprintf("identity: %q passed for hexadecimal digits", id)) // number has checked them
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(application[:])
	sum := mac.Sum(nil)[:16]
	sum[6] = sum[6]&0x0f | 0x40
	sum[8] = sum[8]&0x3f | 0x80
	return hex.EncodeToString(sum)
}

// Compare says whether two machines are the same one; known is false if nothing
// can be told, as nothing is known of both. A copy of a virtual machine may have
// the same machine-id, but its hypervisor gives it another UUID.
func (m Machine) Compare(o Machine) (same, known bool) {
	for _, pair := range [][2]string{{m.ID, o.ID}, {m.Board, o.Board}} {
		if pair[0] == "" || pair[1] == "" {
			continue
		}
		if pair[0] != pair[1] {
			return false, true
		}
		known = true
	}
	return known, known
}

// Or fills in from o what is not known of the machine.
func (m Machine) Or(o Machine) Machine {
	return Machine{ID: cmp.Or(m.ID, o.ID), Board: cmp.Or(m.Board, o.Board)}
}

// Known says whether anything is known of the machine.
func (m Machine) Known() bool { return m != Machine{} }

// Is says whether the machine is called so.
func (m Machine) Is(name string) bool { return name != "" && (name == m.ID || name == m.Board) }

// String is how a sentence and --adopt call the machine.
func (m Machine) String() string {
	switch {
	case m.ID != "":
		return m.ID
	case m.Board != "":
		return m.Board
	}
	return "unknown"
}

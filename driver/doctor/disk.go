package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/control"
)

var diskCheck = Check{
	Name: "disk", Code: 28, About: "the state directory can be written and has room",
	Run: func(_ context.Context, h *Host) ([]Finding, error) {
		dir := h.Config.StateDir
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && h.NoDaemon != nil {
			return nil, NotMade(fmt.Sprintf("there is no %s: weft has not run here", dir))
		}
		if err := tryWrite(dir); err != nil {
			return []Finding{{
				Object:   dir,
				Problem:  fmt.Sprintf("the state directory %s cannot be written: %v; containers cannot start or stop on weft's networks", dir, err),
				Cure:     "make room on its file system or make it writable; weft goes on by itself then",
				Severity: control.Broken,
			}}, nil
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return nil, fmt.Errorf("look at the file system of %s: %w", dir, err)
		}
		return room(dir, st.Bavail*uint64(st.Bsize), st.Files, st.Ffree), nil
	},
}

// leastRoom is when a file system counts as nearly full, in bytes: the state of
// a thousand containers takes about a tenth of it.
const leastRoom = 16 << 20

// leastFiles is when it counts as nearly full, in free inodes.
const leastFiles = 100

func room(dir string, free, files, filesFree uint64) []Finding {
	var what string
	switch {
	case free < leastRoom:
		what = fmt.Sprintf("%d KiB", free>>10)
	case files > 0 && filesFree < leastFiles: // 0: the file system does not count them
		what = fmt.Sprintf("room for %d files", filesFree)
	default:
		return nil
	}
	return []Finding{{
		Object:   dir,
		Problem:  fmt.Sprintf("the file system of the state directory %s has only %s left: when it is full, containers cannot start or stop on weft's networks", dir, what),
		Cure:     "make room on it",
		Severity: control.Risk,
	}}
}

// tryWrite writes and removes a file as weft's state is written.
func tryWrite(dir string) (err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return err
	}
	return f.Sync()
}

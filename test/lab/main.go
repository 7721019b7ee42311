package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Main is what a TestMain does that shares one lab among its tests: it brings the
// lab up, as NAME-PID, with its progress on stderr, has use run the tests on it, and
// takes it down. If they fail, weft's logs of all hosts stay in the temporary
// directory as weft-NAME-HOST.log. Both give the exit code.
func Main(c Config, use func(ctx context.Context, l *Lab) int) int {
	ctx, name := context.Background(), c.Name
	c.Name, c.Progress = fmt.Sprintf("%s-%d", name, os.Getpid()), os.Stderr
	l, err := Up(ctx, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "these tests need root and a lab:", err)
		return 1
	}
	code := use(ctx, l)
	if code != 0 {
		for _, h := range l.Hosts() {
			path := filepath.Join(os.TempDir(), "weft-"+name+"-"+h.Name()+".log")
			log, err := os.ReadFile(h.Log(Weft))
			if err == nil {
				err = os.WriteFile(path, log, 0o600)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "keep weft's log:", err)
				continue
			}
			fmt.Fprintln(os.Stderr, "weft's log of", h.Name(), "is in", path)
		}
	}
	if err := l.Down(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "take the lab down:", err)
		return 1
	}
	return code
}

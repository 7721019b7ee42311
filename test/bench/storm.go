package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// addressStorm runs ipam's storm, a test, with as many allocations as asked. It
// needs the checkout as working directory, and go.
func (b *bench) addressStorm(ctx context.Context, s *section) error {
	s.Columns = []string{weft}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^TestStorm$", "-count=1", "-v", "-timeout", "2h", "./ipam")
	cmd.Env = append(os.Environ(), fmt.Sprintf("WEFT_STORM=%d", b.storm))
	cmd.WaitDelay = 10 * time.Second
	out, ran := cmd.CombinedOutput()
	found := stormResult.FindSubmatch(out)
	if found == nil {
		return errors.Join(fmt.Errorf("ipam's storm tells no result: %.2000s", out), ran)
	}
	s.Notes = append(s.Notes, "ipam: "+string(found[0]))
	handed, _ := strconv.ParseFloat(string(found[1]), 64)
	doubles, _ := strconv.ParseFloat(string(found[2]), 64)
	crashes, _ := strconv.ParseFloat(string(found[3]), 64)
	s.row("addresses handed out", false).add(weft, handed)
	s.row("crashes", false).add(weft, crashes)
	r := s.row("duplicates", true)
	r.add(weft, doubles)
	r.judge("0", doubles == 0)
	if ran != nil {
		return fmt.Errorf("ipam's storm: %w", ran)
	}
	return nil
}

// What TestStorm logs.
var stormResult = regexp.MustCompile(`(\d+) addresses handed out on [^\n]*duplicates=(\d+)[^\n]* (\d+) crashes[^\n]*`)

package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-net/weft/driver/doctor"
)

// Scripts read exit codes, and people look them up.
func TestDoctorsChecksAreDocumented(t *testing.T) {
	text := string(read(t, "docs/doctor.md"))
	for _, c := range doctor.All {
		if row := fmt.Sprintf("| `%s` | %d | %s |", c.Name, c.Code, c.About); !strings.Contains(text, row) {
			t.Errorf("docs/doctor.md lacks check %s with code %d: `make doctor-table` writes its table", c.Name, c.Code)
		}
	}
}

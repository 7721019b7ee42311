package doctor

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/skipped"
)

// mostRecords is how many records are findings of their own.
const mostRecords = 20

var recordsCheck = Check{
	Name: "records", Code: 35, About: "the store has no record that weft cannot use",
	Run: func(_ context.Context, h *Host) ([]Finding, error) {
		s, err := h.state()
		if err != nil {
			return nil, err
		}
		return recordFindings(h.Config, s.Skipped), nil
	},
}

func recordFindings(c Config, records []skipped.Record) []Finding {
	var out []Finding
	for i, r := range records {
		key := shown(fullKey(c.Prefix, r.Key))
		if i == mostRecords {
			out = append(out, Finding{
				Object: c.Store, Severity: control.Risk,
				Problem: fmt.Sprintf("%d more records of the store cannot be used", len(records)-i),
				Cure:    "look at `weft status --json | jq .skipped`",
			})
			break
		}
		f := Finding{Object: "record " + key, Severity: control.Risk, Problem: fmt.Sprintf("the store's record %s %s", key, r.Why), Cure: r.Cure}
		if f.Cure == "" {
			f.Problem += ", so it is passed over and everything else goes on"
			f.Cure = "delete the record"
		}
		f.Cure = strings.ReplaceAll(f.Cure, "delete the record", deletion(c, r.Key))
		out = append(out, f)
	}
	return out
}

func fullKey(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "/" + key
}

// deletion says how to delete a record.
func deletion(c Config, key string) string {
	full := fullKey(c.Prefix, key)
	switch {
	case c.Prefix == "":
		return fmt.Sprintf("stop weft, move the file of --store (%s) away and start weft, which records again what this host has", c.Store)
	case bare.MatchString(full):
		return "delete it with `consul kv delete " + full + "`"
	case shown(full) == full:
		return "delete it with `consul kv delete '" + strings.ReplaceAll(full, "'", `'\''`) + "'`"
	}
	return "delete it in Consul's UI or by its API, the key in quotes has bytes that cannot be typed"
}

// bare keys need no quotes in a shell.
var bare = regexp.MustCompile(`^[A-Za-z0-9_./:][A-Za-z0-9_./:-]*$`)

// shown is the key, in quotes if not all of it can be printed.
func shown(key string) string {
	if !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(key)
	}
	return key
}

package metrics_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table in docs/metrics.md instead of comparing with it")

// labels gives the values of each label of a family.
func labels(f *dto.MetricFamily) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if out[l.GetName()] == nil {
				out[l.GetName()] = map[string]bool{}
			}
			out[l.GetName()][l.GetValue()] = true
		}
	}
	return out
}

func TestTheDocumentNamesWhatThereIs(t *testing.T) {
	const path, begin, end = "../../docs/metrics.md", "<!-- table: go test ./driver/metrics -update writes it -->\n", "<!-- end of table -->\n"
	_, families := busy(t)
	var table strings.Builder
	table.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.HasPrefix(name, "weft_") {
			continue
		}
		var names []string
		for _, label := range slices.Sorted(maps.Keys(labels(families[name]))) {
			names = append(names, "`"+label+"`")
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(families[name].GetType().String()), strings.Join(names, ", "), families[name].GetHelp())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(head+begin+table.String()+end+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table.String(), got); diff != "" {
		t.Errorf("%s (-is +says; go test ./driver/metrics -update writes it)\n%s", path, diff)
	}
}

// use is what somebody asks Prometheus.
type use struct {
	where, expr string
	text        []string // legends and sentences with the labels of the result
}

var (
	quoted     = regexp.MustCompile(`"[^"]*"`)
	metricName = regexp.MustCompile(`\b(up|(weft|go|process)_[a-z0-9_]+)(\{[^}]*\})?`)
	matcher    = regexp.MustCompile(`^([a-z_]+)(=~|!~|!=|=)"([^"]*)"$`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	mentioned  = regexp.MustCompile(`\{\{ ?(?:\$labels\.)?([a-z_]+) ?\}\}`)
	suffix     = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// check finds metrics, labels and values of labels that there are not.
func (u use) check(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	known := map[string]bool{"job": true, "instance": true} // Prometheus adds these
	found := metricName.FindAllStringSubmatch(u.expr, -1)
	if len(found) == 0 {
		t.Errorf("%s: no metric in %s", u.where, u.expr)
	}
	for _, m := range found {
		family := families[m[1]]
		if family == nil {
			family = families[suffix.ReplaceAllString(m[1], "")]
			known["le"] = known["le"] || strings.HasSuffix(m[1], "_bucket")
		}
		if family == nil && m[1] != "up" {
			t.Errorf("%s: there is no metric %s", u.where, m[1])
			continue
		}
		has := labels(family)
		for label := range has {
			known[label] = true
		}
		for part := range strings.SplitSeq(strings.Trim(m[3], "{}"), ",") {
			if part == "" {
				continue
			}
			p := matcher.FindStringSubmatch(part)
			switch {
			case p == nil:
				t.Errorf("%s: what is %s?", u.where, part)
			case p[1] == "job" || p[1] == "instance":
			case has[p[1]] == nil:
				t.Errorf("%s: %s has no label %s", u.where, m[1], p[1])
			case !strings.Contains(p[3], "$"):
				for value := range strings.SplitSeq(p[3], "|") {
					if !has[p[1]][value] {
						t.Errorf("%s: %s of %s is never %q", u.where, p[1], m[1], value)
					}
				}
			}
		}
	}
	if groups := grouping.FindAllStringSubmatch(u.expr, -1); groups != nil {
		kept := map[string]bool{}
		for _, g := range groups {
			for label := range strings.SplitSeq(g[1], ", ") {
				if !known[label] {
					t.Errorf("%s: by (%s): no metric in it has that label", u.where, label)
				}
				kept[label] = true
			}
		}
		known = kept
	}
	for _, m := range mentioned.FindAllStringSubmatch(strings.Join(u.text, " "), -1) {
		if !known[m[1]] {
			t.Errorf("%s: the result has no label %s", u.where, m[1])
		}
	}
	bare := quoted.ReplaceAllString(u.expr, "")
	for _, pair := range []string{"()", "[]", "{}"} {
		if strings.Count(bare, pair[:1]) != strings.Count(bare, pair[1:]) {
			t.Errorf("%s: a %s is missing in %s", u.where, pair, u.expr)
		}
	}
}

func TestAlertsAskForWhatThereIs(t *testing.T) {
	_, families := busy(t)
	b, err := os.ReadFile("../../deploy/prometheus/weft.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, group := range rules.Groups {
		for _, r := range group.Rules {
			summary, description := r.Annotations["summary"], r.Annotations["description"]
			if seen[r.Alert] || summary == "" || description == "" || r.Labels["severity"] == "" {
				t.Errorf("%q is there twice, or has no severity, summary or description", r.Alert)
			}
			seen[r.Alert] = true
			use{r.Alert, r.Expr, []string{summary, description}}.check(t, families)
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts", len(seen))
	}
}

func TestTheDashboardAsksForWhatThereIs(t *testing.T) {
	_, families := busy(t)
	b, err := os.ReadFile("../../deploy/grafana/weft.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	cells := map[[2]int]string{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("panel %d %q is there twice, or has no title, description or query", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if cells[at] != "" || at[0] > 23 {
					t.Errorf("%q lies on %q, or beside the board", p.Title, cells[at])
				}
				cells[at] = p.Title
			}
		}
		for _, target := range p.Targets {
			use{p.Title, target.Expr, []string{target.LegendFormat}}.check(t, families)
		}
	}
	for _, v := range board.Templating.List {
		if v.Type == "query" {
			use{v.Name, v.Definition, nil}.check(t, families)
		}
	}
}

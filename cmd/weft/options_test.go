package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
)

// options are the flags of `weft serve` by name.
func options() map[string]*pflag.Flag {
	var c config
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.flags(f)
	out := map[string]*pflag.Flag{}
	f.VisitAll(func(flag *pflag.Flag) { out[flag.Name] = flag })
	return out
}

// plain is how a person writes a default.
func plain(f *pflag.Flag) string {
	return strings.TrimSuffix(strings.Trim(f.DefValue, "[]"), "0s")
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheReadmeHasEveryOption(t *testing.T) {
	left := options()
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| `(WEFT_[A-Z_]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(document(t, "README.md"), -1) {
		flag := left[row[1]]
		if flag == nil {
			t.Errorf("--%s is in the table, and is no flag", row[1])
			continue
		}
		delete(left, row[1])
		if row[2] != variable(row[1]) {
			t.Errorf("--%s: its variable is %s, not %s", row[1], variable(row[1]), row[2])
		}
		if def := plain(flag); def != "" && def != "0" && row[3] != "`"+def+"`" {
			t.Errorf("--%s: its default is %s, not %s", row[1], def, row[3])
		}
	}
	for name := range left {
		t.Errorf("--%s is not in the table", name)
	}
}

// packaged are the flags that a way to install weft decides, which is not for a
// user of it to change.
var packaged = []string{"name", "plugin-dir", "socket", "docker", "state-dir"}

func TestWeftEnvHasWhatThereIs(t *testing.T) {
	flags := options()
	for _, name := range packaged {
		delete(flags, name)
	}
	for _, line := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=(.*)$`).FindAllStringSubmatch(document(t, "deploy/weft.env"), -1) {
		if slices.ContainsFunc(consulVariables, func(v struct{ name, text string }) bool { return v.name == line[1] }) {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(line[1], "WEFT_"), "_", "-"))
		flag := flags[name]
		if flag == nil {
			t.Errorf("%s is no setting, or stands there twice", line[1])
			continue
		}
		delete(flags, name)
		if def := plain(flag); def != "" && def != "0" && name != "store" && line[2] != def {
			t.Errorf("%s: the default is %s, not %s", line[1], def, line[2])
		}
		if _, err := parse(t, map[string]string{line[1]: line[2]}); err != nil {
			t.Errorf("the example is refused: %v", err)
		}
	}
	for name := range flags {
		t.Errorf("--%s is not in weft.env", name)
	}
}

func TestThePluginHasEverySetting(t *testing.T) {
	var manifest struct {
		Env []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(document(t, "deploy/plugin/config.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(manifest.Env, func(e struct{ Name string }) bool { return e.Name == name })
	}
	for name := range options() {
		// A plugin's directories are fixed.
		if name != "plugin-dir" && name != "state-dir" && !has(variable(name)) {
			t.Errorf("%s is not among the plugin's settings", variable(name))
		}
	}
	for _, v := range consulVariables {
		if !has(v.name) && v.name != "CONSUL_CAPATH" && v.name != "CONSUL_NAMESPACE" && v.name != "CONSUL_PARTITION" {
			t.Errorf("%s is not among the plugin's settings", v.name)
		}
	}
}

func TestTheContainerPassesEverySetting(t *testing.T) {
	unset := map[string]string{} // what weft sees of variables that nobody has set
	for _, line := range regexp.MustCompile(`(?m)^ {6}([A-Z_]+): (.*)$`).FindAllStringSubmatch(document(t, "deploy/container/compose.yaml"), -1) {
		value := regexp.MustCompile(`^\$\{` + line[1] + `:([-?])([^}]*)\}$`).FindStringSubmatch(line[2])
		if _, twice := unset[line[1]]; twice || value == nil {
			t.Errorf("%s stands there twice, or is not passed on: %s", line[1], line[2])
			continue
		}
		unset[line[1]] = value[2]
		if value[1] == "?" {
			unset[line[1]] = "consul://192.0.2.10:8500"
		}
	}
	got, err := parse(t, unset)
	if err != nil {
		t.Errorf("what is not set is refused: %v", err)
	}
	want, err := parse(t, map[string]string{"WEFT_STORE": "consul://192.0.2.10:8500"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("what is not set is not the default (-want +got):\n%s", diff)
	}
	known := map[string]bool{}
	for name := range options() {
		known[variable(name)] = !slices.Contains(packaged, name)
	}
	for _, v := range consulVariables {
		known[v.name] = true
	}
	for name, wanted := range known {
		if _, has := unset[name]; has != wanted {
			t.Errorf("%s: it is passed on: %t, want %t", name, has, wanted)
		}
		delete(unset, name)
	}
	for name := range unset {
		t.Errorf("%s is no setting", name)
	}
}

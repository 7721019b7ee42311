package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/kvstore/kvtest/ports"
)

// Metrics that containers can read are told of at the start, once.
func TestMetricsOnAllAddressesAreToldOf(t *testing.T) {
	free, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free[0].String())
	for host, told := range map[string]bool{"": true, "0.0.0.0": true, "[::]": true, "127.0.0.1": false, "[::1]": false} {
		log, hook := test.NewNullLogger()
		dir := t.TempDir()
		d := &daemon{log: log, cfg: config{
			Socket: filepath.Join(dir, "plugin.sock"), Control: filepath.Join(dir, "control.sock"), Metrics: host + ":" + port,
		}}
		if err := d.listen(t.Context()); err != nil {
			t.Fatalf("%q: %v", host, err)
		}
		d.close()
		var warnings []string
		for _, e := range hook.AllEntries() {
			if e.Level == logrus.WarnLevel {
				warnings = append(warnings, e.Message)
			}
		}
		if told != (len(warnings) == 1) || told && !strings.Contains(warnings[0], "--metrics 127.0.0.1:"+port) {
			t.Errorf("%q: told are %q", host, warnings)
		}
	}
}

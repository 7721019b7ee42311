package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/plugin"
)

func TestTheLogLevelChangesAtRunTime(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	d := &daemon{log: log}
	socket := filepath.Join(t.TempDir(), "weft.sock")
	l, err := plugin.Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	server := control.New(small, log)
	server.Serve(control.Acts{LogLevel: d.setLogLevel})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, l) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, want := range []logrus.Level{logrus.DebugLevel, logrus.ErrorLevel, logrus.WarnLevel, logrus.InfoLevel} {
		name := strings.TrimSuffix(want.String(), "ing")
		code, stdout, stderr := weft(t, "log-level", name, "--control", "unix://"+socket)
		if code != exitOK || stdout != "" || stderr != "" || log.GetLevel() != want {
			t.Errorf("%s: code %d, stdout %q, stderr %q, level %v", name, code, stdout, stderr, log.GetLevel())
		}
		// Whoever reads the log learns why it falls silent.
		if last := hook.LastEntry(); last == nil || last.Data["is"] != want {
			t.Errorf("%s: the log says %v", name, last)
		}
	}
	if code, _, stderr := weft(t, "log-level", "loud", "--control", "unix://"+socket); code != exitUsage ||
		stderr != "weft: log level \"loud\" is refused: it takes debug, info, warn or error\n" {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	client := control.Client{Socket: socket} // a command of another version
	if err := client.LogLevel(t.Context(), "loud"); err == nil || log.GetLevel() != logrus.InfoLevel {
		t.Errorf("got %v, level %v", err, log.GetLevel())
	}
}

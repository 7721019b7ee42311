package main

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/plugin"
)

func TestTheKeyIsChangedByCommand(t *testing.T) {
	log, _ := logtest.NewNullLogger()
	socket := filepath.Join(t.TempDir(), "weft.sock")
	l, err := plugin.Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	var answer control.Keys
	var refusal error
	server := control.New(small, log)
	server.Serve(control.Acts{RotateKeys: func(context.Context) (control.Keys, error) { return answer, refusal }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, l) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		keys control.Keys
		err  error
		code int
		text string
	}{
		{control.Keys{Generation: 1, Count: 1}, nil, exitOK, "The hosts' key is another one now (generation 1), and the former one is used no more.\n"},
		{control.Keys{Generation: 2, Count: 2}, nil, exitOK, "The hosts' key is another one now (generation 2), and the former one goes in a moment.\n"},
		{
			control.Keys{Generation: 2, Count: 2, Waits: []string{"h2", "h3"}},
			nil, exitOK,
			"The hosts' key is another one now (generation 2); host h2, host h3 has not taken it over yet, and is told by the former one until it has, or for 24 hours.\n",
		},
		{control.Keys{}, errors.New("the store is away"), exitFailed, "weft: the store is away\n"},
	} {
		answer, refusal = tt.keys, tt.err
		code, stdout, stderr := weft(t, "keys", "rotate", "--control", "unix://"+socket)
		if code != tt.code || stdout+stderr != tt.text {
			t.Errorf("%+v, %v: code %d, %q, %q", tt.keys, tt.err, code, stdout, stderr)
		}
	}
}

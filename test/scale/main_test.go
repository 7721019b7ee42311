package main

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests in a network namespace.
func TestMain(m *testing.M) {
	is, code, err := inside(context.Background())
	if is && err == nil {
		code = m.Run()
		if code == 0 {
			err = goleak.Find()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// Command weft-lab makes clusters of real Docker hosts on one machine, to try
// weft on, to teach with, and to break.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// failed marks an error that is not in the command line.
type failed struct{ error }

// Unwrap returns the error itself.
func (f failed) Unwrap() error { return f.error }

// usage marks an error that is in the user's command line.
type usage struct{ error }

// Unwrap returns the error itself.
func (u usage) Unwrap() error { return u.error }

// run returns the exit status: 0, 1 for a failure, 2 for what was not
// understood or is refused, 130 when interrupted, and for exec the command's
// own.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(silent)) && errors.As(err, &exit):
		return max(1, exit.ExitCode())
	case errors.As(err, new(silent)) && ctx.Err() != nil:
		return 130 // as a shell says "interrupted"
	}
	fmt.Fprintf(stderr, "weft-lab: %v\n", err)
	var refused *lab.InputError
	if errors.As(err, &refused) || errors.As(err, new(usage)) || !errors.As(err, new(failed)) {
		return 2
	}
	return 1
}

// place is where the commands find their lab.
type place struct{ name, dir string }

func (p *place) open() (*lab.Lab, error) { return lab.Open(p.name, p.dir) }

func newRoot() *cobra.Command {
	at := &place{}
	root := &cobra.Command{
		Use:           "weft-lab",
		Short:         "Clusters of real Docker hosts on one machine",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("say what to do, for example weft-lab up; weft-lab --help lists the rest")
		},
	}
	root.PersistentFlags().StringVar(&at.name, "lab", lab.DefaultName, "name of the lab")
	root.PersistentFlags().StringVar(&at.dir, "dir", lab.DefaultDir, "directory of the labs' state")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		upCommand(at), downCommand(at), psCommand(at),
		execCommand(at), shellCommand(at), logsCommand(at),
		killCommand(at), startCommand(at),
		powerCommand(at), cutCommand(at), healCommand(at),
		sceneCommand(at),
	)
	for _, c := range root.Commands() {
		if inner := c.RunE; inner != nil {
			c.RunE = func(cmd *cobra.Command, args []string) error {
				if err := inner(cmd, args); err != nil {
					return failed{err}
				}
				return nil
			}
		}
	}
	return root
}

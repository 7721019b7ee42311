package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
)

// Exit codes of every command.
const (
	exitOK        = 0
	exitFailed    = 1 // with one sentence on stderr
	exitUsage     = 2 // a mistake in the command line, with one sentence on stderr
	exitUnhealthy = 3 // `weft status`: it answered, and something is wrong; `weft doctor`: several checks found something
	exitLeft      = 4 // `weft serve` only: `weft leave` took this host out; weft.service does not start it again
)

// exitError ends the program with a code; err may be nil.
type exitError struct {
	code int
	err  error
}

// Error implements error.
func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

// Unwrap gives the reason.
func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake in the command line.
func usageError(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// execute runs one command line and gives the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitFailed
	if exit, ok := errors.AsType[*exitError](err); ok {
		code = exit.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(stderr, "weft: %s\n", text)
	}
	return code
}

func newRoot() *cobra.Command {
	root := group("weft", "One network for the containers of many Docker hosts")
	root.Long = `weft gives plain Docker hosts networks that span them.

On each host runs ` + "`weft serve`" + `, which answers Docker's network and IPAM driver
calls; networks are made and used with docker itself. The other commands ask the
daemon of this host.`
	root.Example = `  weft serve --store consul://192.0.2.10:8500
  docker network create -d weft --ipam-driver weft demo
  docker run --rm --network demo busybox ip addr
  weft status`
	root.SilenceErrors, root.SilenceUsage = true, true
	root.PersistentFlags().String("control", cmp.Or(os.Getenv("WEFT_CONTROL"), "unix://"+defaultControl), "where the daemon of this host listens for this command (WEFT_CONTROL)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%w (see `%s --help`)", err, cmd.CommandPath())
	})
	root.AddCommand(statusCommand(), doctorCommand(), networkCommand(), endpointCommand(), hostCommand(), keysCommand(), versionCommand(), leaveCommand(), logLevelCommand(), serveCommand(), manCommand())
	return root
}

// group makes a command that is only there for the ones below it.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			var names []string
			for _, c := range cmd.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			return usageError("%q is no command of `%s`: there are %s", args[0], cmd.CommandPath(), strings.Join(names, ", "))
		},
	}
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("`%s` takes no arguments, but got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// someArgs wants at least one argument; what names them.
func someArgs(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError("`%s` needs %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

// oneArg wants exactly one argument; what names it.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError("`%s` needs %s, but got %d arguments", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

// client is the way to the daemon that --control names.
func client(cmd *cobra.Command) (control.Client, error) {
	at, err := cmd.Flags().GetString("control")
	if err != nil {
		return control.Client{}, err
	}
	path := strings.TrimPrefix(at, "unix://")
	if !filepath.IsAbs(path) {
		return control.Client{}, usageError("--control %q is no unix socket: give it as unix://%s", at, defaultControl)
	}
	return control.Client{Socket: path}, nil
}

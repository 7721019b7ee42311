package main

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
)

// silent marks the failure of the user's own command, which has told it already.
type silent struct{ error }

// Unwrap returns the error itself.
func (s silent) Unwrap() error { return s.error }

func execCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "exec HOST -- COMMAND...",
		Short: "Run a command on a host; the exit status is the command's",
		Args:  atLeast(2, "say on which host and what to run: weft-lab exec h1 -- docker ps"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := at.open()
			if err != nil {
				return err
			}
			inside, err := l.Command(cmd.Context(), args[0], args[1:]...)
			if err != nil {
				return err
			}
			// It ends by itself when interrupted, with its last words.
			inside.Cancel = func() error { return inside.Process.Signal(os.Interrupt) }
			return attach(cmd, inside)
		},
	}
}

func shellCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "shell HOST",
		Short: "Open a shell on a host",
		Args:  exactly(1, "say on which host: weft-lab shell h1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := at.open()
			if err != nil {
				return err
			}
			line := []string{"sh", "-i"}
			if _, err := exec.LookPath("bash"); err == nil {
				line = []string{"bash", "--norc", "--noprofile", "-i"}
			}
			inside, err := l.Command(cmd.Context(), args[0], line...)
			if err != nil {
				return err
			}
			inside.Env = append(inside.Env, "PS1="+args[0]+"$ ")
			// A shell gets its interrupts from the terminal; ours must not
			// kill it.
			inside.Cancel = func() error { return nil }
			return attach(cmd, inside)
		},
	}
}

// attach runs a command on the caller's terminal.
func attach(cmd *cobra.Command, inside *exec.Cmd) error {
	inside.Stdin = os.Stdin
	inside.Stdout, inside.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := inside.Run(); err != nil {
		return silent{fmt.Errorf("%s: %w", inside, err)}
	}
	return nil
}

// atLeast and exactly check the number of arguments and say in the command's
// own words what is missing.
func atLeast(n int, sentence string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return fmt.Errorf("%s", sentence)
		}
		return nil
	}
}

func exactly(n int, sentence string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s", sentence)
		}
		return nil
	}
}

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

func killCommand(at *place) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "kill HOST weft|dockerd, kill CONSUL",
		Short: "End a program, by default with SIGKILL",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
			if sig == 0 {
				return usage{fmt.Errorf("%q is not a signal", name)}
			}
			p, err := at.program(args)
			if err != nil {
				return err
			}
			if p.PID() == 0 {
				return fmt.Errorf("%s does not run", strings.Join(args, " "))
			}
			if sig == unix.SIGKILL {
				return p.Kill(cmd.Context())
			}
			if sig == unix.SIGTERM {
				return p.Stop(cmd.Context())
			}
			return p.Signal(sig)
		},
	}
	cmd.Flags().StringVar(&name, "signal", "KILL", "the signal; KILL and TERM wait for the end")
	return cmd
}

func startCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "start HOST weft|dockerd, start CONSUL",
		Short: "Start a program again and wait until it is ready",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := at.program(args)
			if err != nil {
				return err
			}
			return p.Start(cmd.Context())
		},
	}
}

// program returns what "h1 weft" or "consul1" names.
func (p *place) program(args []string) (lab.Program, error) {
	l, err := p.open()
	if err != nil {
		return nil, err
	}
	return l.Program(args...)
}

func cutCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "cut A B",
		Short: "Drop everything between two hosts or Consul servers, both ways",
		Args:  exactly(2, "say between which two: weft-lab cut h1 consul1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := at.open()
			if err != nil {
				return err
			}
			return l.Cut(cmd.Context(), args[0], args[1])
		},
	}
}

func healCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "heal",
		Short: "Undo every cut",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := at.open()
			if err != nil {
				return err
			}
			return l.Heal(cmd.Context())
		},
	}
}

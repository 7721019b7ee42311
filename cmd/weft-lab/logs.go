package main

import (
	"os/exec"

	"github.com/spf13/cobra"
)

func logsCommand(at *place) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs HOST weft|dockerd, logs CONSUL",
		Short: "Print a program's log",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := at.program(args)
			if err != nil {
				return err
			}
			line := []string{"-n", "+1"}
			if follow {
				line = append(line, "-F")
			}
			return attach(cmd, exec.CommandContext(cmd.Context(), "tail", append(line, p.Log())...))
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as it grows")
	return cmd
}

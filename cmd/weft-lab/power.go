package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func powerCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "power HOST off|on",
		Short: "Take a host's power away, or give it back: only what is on its disk stays",
		Long: `Take a host's power away, or give it back.

Off ends every process of the host at once. On makes its namespaces anew; weft
and dockerd are started by "weft-lab start", in the order that you like.`,
		Args: exactly(2, "say which host, and off or on: weft-lab power h1 off"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := at.open()
			if err != nil {
				return err
			}
			h := l.Host(args[0])
			if h == nil {
				return usage{fmt.Errorf("the lab %s has no host %q", l.Name(), args[0])}
			}
			switch args[1] {
			case "off":
				return h.PowerOff(cmd.Context())
			case "on":
				return h.PowerOn(cmd.Context())
			}
			return usage{fmt.Errorf("%q is neither off nor on", args[1])}
		},
	}
}

package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
)

func endpointCommand() *cobra.Command {
	cmd := group("endpoint", "The containers' interfaces")
	cmd.Long = "Look at the endpoints: the interfaces of containers in networks of weft's, on all hosts."
	cmd.AddCommand(endpointListCommand())
	return cmd
}

func endpointListCommand() *cobra.Command {
	var f control.Filter
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the endpoints of all hosts", Args: noArgs,
		Long: `List the endpoints of all hosts.

PHASE is how far an endpoint has come:
  created    recorded, its container has not started
  joined     its container has the interface
  left       Docker is about to delete it
  lost       its address is another host's by now; it has no interface
  published  another host's, which says that it has it; no more is known here`,
		Example: "  weft endpoint ls\n  weft endpoint ls --network demo --host h2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			endpoints, err := c.Endpoints(cmd.Context(), f)
			if err != nil {
				return err
			}
			return write(cmd, endpoints, func() string { return endpointsText(endpoints) })
		},
	}
	cmd.Flags().StringVar(&f.Network, "network", "", "only those of this network (id or name)")
	cmd.Flags().StringVar(&f.Host, "host", "", "only those on this host")
	_ = cmd.RegisterFlagCompletionFunc("network", complete(networkNames)) // fails for an unknown flag only
	_ = cmd.RegisterFlagCompletionFunc("host", complete(hostNames))
	jsonFlag(cmd)
	return cmd
}

func endpointsText(endpoints []control.Endpoint) string {
	var rows [][]string
	for _, e := range endpoints {
		rows = append(rows, []string{
			short(e.ID), e.Container, cmp.Or(e.NetworkName, e.Network), e.Host, joined(e.Addrs), e.MAC.String(), cmp.Or(string(e.Phase), "published"),
		})
	}
	return table([]string{"ENDPOINT", "CONTAINER", "NETWORK", "HOST", "ADDRESSES", "MAC", "PHASE"}, rows)
}

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
)

func hostCommand() *cobra.Command {
	cmd := group("host", "The cluster's hosts")
	cmd.Long = "Look at the cluster's hosts, and free what one had that will not come back."
	cmd.AddCommand(hostListCommand(), hostForgetCommand())
	return cmd
}

func hostListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the cluster's hosts", Args: noArgs,
		Long: `List the cluster's hosts.

STATE is what the store tells:
  live     weft runs there
  down     weft there does not, or is cut off from the store
  unknown  the store does not answer on this host

and silent says that this host does not hear it directly any more (UDP port
7947), so that its containers' names are withdrawn, unless its machine says that only
weft does not run there.`,
		Example: "  weft host ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			hosts, err := c.Hosts(cmd.Context())
			if err != nil {
				return err
			}
			return write(cmd, hosts, func() string { return hostsTable(hosts, time.Now()) })
		},
	}
	jsonFlag(cmd)
	return cmd
}

func hostsTable(hosts []control.Host, now time.Time) string {
	var rows [][]string
	for _, h := range hosts {
		name := h.Name
		if h.Self {
			name += " *"
		}
		rows = append(rows, []string{
			name, h.VTEP, fmt.Sprint(h.Port), fmt.Sprint(h.MTU), h.Version, hostState(h, now), fmt.Sprint(h.Networks), fmt.Sprint(h.Endpoints),
		})
	}
	return table([]string{"NAME", "VTEP", "PORT", "MTU", "VERSION", "STATE", "NETWORKS", "ENDPOINTS"}, rows)
}

func hostState(h control.Host, now time.Time) string {
	state := since(string(h.State), h.Since, now)
	if h.Silent {
		state += ", silent"
	}
	return state
}

func hostForgetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "forget HOST", Short: "Free the addresses of a host that will not come back",
		Long: `Free the addresses and endpoints of a host that will not come back.

weft does that by itself some time after a host has died (--reap). A host that
another one hears is alive, and is not forgotten, whatever the store says. A host that
comes back all the same keeps what nobody else has taken by then.`,
		Example:           "  weft host forget h3",
		ValidArgsFunction: complete(hostNames),
		Args:              oneArg("the name of a host, see `weft host ls`"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			return c.Forget(cmd.Context(), args[0])
		},
	}
}

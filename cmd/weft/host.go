package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
)

func hostCommand() *cobra.Command {
	cmd := group("host", "The cluster's hosts")
	cmd.AddCommand(hostListCommand())
	return cmd
}

func hostListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the cluster's hosts", Args: noArgs,
		Long: `List the cluster's hosts.

STATE is what the store tells:
  live     weft runs there
  down     weft there does not, or is cut off from the store
  unknown  the store does not answer on this host`,
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
			name, h.VTEP, fmt.Sprint(h.Port), fmt.Sprint(h.MTU), h.Version, since(string(h.State), h.Since, now), fmt.Sprint(h.Networks), fmt.Sprint(h.Endpoints),
		})
	}
	return table([]string{"NAME", "VTEP", "PORT", "MTU", "VERSION", "STATE", "NETWORKS", "ENDPOINTS"}, rows)
}

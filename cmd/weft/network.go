package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
)

func networkCommand() *cobra.Command {
	cmd := group("network", "The cluster's networks")
	cmd.Long = "Look at the cluster's networks. They are made, used and removed with docker network."
	cmd.AddCommand(networkListCommand(), networkInspectCommand())
	return cmd
}

func networkListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the cluster's networks", Args: noArgs,
		Long: `List the cluster's networks.

STATE is how the network is doing on this host:
  ok        Docker here has it
  unnamed   Docker's API has not told its name, so it is not mirrored
  remote    Docker here does not have it (yet)
  failed    the kernel could not be set up for it
  conflict  Docker here cannot have it, see weft status
  narrow    this host's underlay cannot carry the MTU that it was created with
  removing  it was removed in the cluster, and containers here still use it`,
		Example: "  weft network ls\n  weft network ls --json | jq -r '.[].name'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			networks, err := c.Networks(cmd.Context())
			if err != nil {
				return err
			}
			return write(cmd, networks, func() string { return networksText(networks) })
		},
	}
	jsonFlag(cmd)
	return cmd
}

func networkInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect ID|NAME...", Short: "Show all that is known of networks", Args: someArgs("the id or the name of a network"),
		Long: `Show all that is known of networks: subnets, options, the hosts that have them,
and every endpoint on every host.

STOCK are addresses that a host has claimed ahead of use.`,
		Example:           "  weft network inspect demo",
		ValidArgsFunction: complete(networkNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			var details []control.NetworkDetail
			for _, arg := range args {
				d, err := c.Network(cmd.Context(), arg)
				if err != nil {
					return err
				}
				details = append(details, d)
			}
			return write(cmd, details, func() string {
				var out []string
				for _, d := range details {
					out = append(out, networkText(d, time.Now()))
				}
				return strings.Join(out, "\n")
			})
		},
	}
	jsonFlag(cmd)
	return cmd
}

func networksText(networks []control.Network) string {
	var rows [][]string
	for _, n := range networks {
		rows = append(rows, []string{
			n.ID, n.Name, fmt.Sprint(n.VNI), joined(n.Subnets), fmt.Sprint(n.MTU), fmt.Sprint(n.Hosts), fmt.Sprint(n.Endpoints), string(n.State),
		})
	}
	return table([]string{"ID", "NAME", "VNI", "SUBNETS", "MTU", "HOSTS", "ENDPOINTS", "STATE"}, rows)
}

func networkText(n control.NetworkDetail, now time.Time) string {
	r := n.Record
	rows := [][]string{
		{"ID", n.ID},
		{"Name", n.Name},
		{"State", string(n.State) + because(n.Why)},
		{"VNI", fmt.Sprint(n.VNI)},
		{"MTU", mtuText(n)},
	}
	for _, text := range n.Narrow {
		rows = append(rows, []string{"Too narrow", text})
	}
	for _, s := range r.Subnets {
		rows = append(rows, []string{"Subnet", subnetText(s)})
	}
	rows = append(rows, []string{"Created", fmt.Sprintf("%s on host %s", moment(r.Created, now), r.Host)})
	for _, flag := range []struct {
		set  bool
		text string
	}{
		{r.Internal, "internal"}, {r.Attachable, "attachable"}, {r.Swarm, "made by Swarm"}, {r.Unguarded, "endpoints may send from any address"}, {r.Tunnelled, "packets between hosts through tunnels only"},
	} {
		if flag.set {
			rows = append(rows, []string{"Property", flag.text})
		}
	}
	rows = append(append(rows, pairs("Option", r.Options)...), pairs("Label", r.Labels)...)
	for _, text := range n.Ignored {
		rows = append(rows, []string{"Ignored option", text})
	}
	for _, text := range n.Unkept {
		rows = append(rows, []string{"Option not kept", text})
	}
	var hosts [][]string
	var endpoints []control.Endpoint
	for _, h := range n.On {
		hosts = append(hosts, []string{h.Host, string(h.State), fmt.Sprint(len(h.Endpoints)), joined(h.Stock)})
		endpoints = append(endpoints, h.Endpoints...)
	}
	return table(nil, rows) +
		"\n" + table([]string{"HOST", "STATE", "ENDPOINTS", "STOCK"}, hosts) +
		"\n" + endpointsText(endpoints)
}

func mtuText(n control.NetworkDetail) string {
	if n.MTUHost == "" {
		return fmt.Sprintf("%d, as it was created", n.MTU)
	}
	return fmt.Sprintf("%d, what the underlay of host %s leaves", n.MTU, n.MTUHost)
}

func subnetText(s overlay.Subnet) string {
	out := []string{s.Prefix.String()}
	if s.Gateway.IsValid() {
		out = append(out, "gateway "+s.Gateway.String())
	}
	if s.Range.IsValid() {
		out = append(out, "addresses from "+s.Range.String())
	}
	for _, name := range slices.Sorted(maps.Keys(s.Aux)) {
		out = append(out, fmt.Sprintf("%s is %s", s.Aux[name], name))
	}
	return strings.Join(out, ", ")
}

func pairs(title string, m map[string]string) [][]string {
	var rows [][]string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		rows = append(rows, []string{title, k + "=" + m[k]})
	}
	return rows
}

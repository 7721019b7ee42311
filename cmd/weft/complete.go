package main

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
)

// names asks the daemon for what a shell may complete an argument with.
type names func(ctx context.Context, c control.Client) ([]string, error)

// complete gives the shell the words of list that are not in the line already. If no
// daemon answers, it gives none, and that is no error.
func complete(list names) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := client(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all, err := list(cmd.Context(), c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all = slices.DeleteFunc(all, func(name string) bool { return name == "" || slices.Contains(args, name) })
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

func networkNames(ctx context.Context, c control.Client) ([]string, error) {
	networks, err := c.Networks(ctx)
	var out []string
	for _, n := range networks {
		out = append(out, n.Name)
	}
	return out, err
}

func hostNames(ctx context.Context, c control.Client) ([]string, error) {
	hosts, err := c.Hosts(ctx)
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out, err
}

func levelNames(context.Context, control.Client) ([]string, error) {
	return slices.Sorted(maps.Keys(levels)), nil
}

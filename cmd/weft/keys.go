package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/keys"
)

func keysCommand() *cobra.Command {
	cmd := group("keys", "The key of what hosts tell each other directly")
	cmd.Long = "Change the key by which the cluster's hosts seal what they tell each other directly."
	cmd.AddCommand(keysRotateCommand())
	return cmd
}

func keysRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate", Short: "Have all hosts use another key, without a pause",
		Long: fmt.Sprintf(`Have all hosts use another key for what they tell each other directly.

weft does that by itself when a host leaves, is forgotten or was declared dead, so
that such a host cannot read any more what it overhears. The hosts take the new key
from the store, and nothing that they say is lost meanwhile; the former key goes
within seconds. A host that the store does not reach, and that others hear, is told
by the former key until the store is back, for %g hours at most.

While the store does not answer it refuses, and while weft on some host is of a
version that cannot change its key.`, keys.Bound.Hours()),
		Example: "  weft keys rotate",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			k, err := c.RotateKeys(cmd.Context())
			if err != nil {
				return err
			}
			return write(cmd, k, func() string { return rotatedText(k) })
		},
	}
	jsonFlag(cmd)
	return cmd
}

func rotatedText(k control.Keys) string {
	head := fmt.Sprintf("The hosts' key is another one now (generation %d)", k.Generation)
	switch {
	case k.Count <= 1:
		return head + ", and the former one is used no more.\n"
	case len(k.Waits) == 0:
		return head + ", and the former one goes in a moment.\n"
	}
	return fmt.Sprintf("%s; host %s has not taken it over yet, and is told by the former one until it has, or for %g hours.\n",
		head, printable(strings.Join(k.Waits, ", host ")), keys.Bound.Hours())
}

func keysText(k control.Keys) string {
	out := fmt.Sprintf("generation %d", k.Generation)
	if k.Count > 1 {
		out += ", the former one is still used with " + printable(cmp.Or(strings.Join(k.Waits, ", "), "nobody"))
	}
	return out
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
)

func leaveCommand() *cobra.Command {
	var how control.Leaving
	var away bool
	cmd := &cobra.Command{
		Use: "leave", Short: "Take this host out of the cluster and end its daemon",
		Long: `Take this host out of the cluster and end its daemon.

Its addresses come free at once. Its state and the networks in its Docker stay, and
it joins again when the daemon is started again. While the store does not answer it
refuses.

While containers are attached to networks of weft's it refuses, unless --force
is given; with it they lose their addresses to whoever asks next, and what the
kernel has of their networks stays until the daemon is started again.

With --purge everything of weft's on this host goes: its state, and its namespaces,
links and nftables table. With --force too, the containers that are attached lose
their links. The networks in its Docker stay.

With --away it only says that this machine shuts down: the other hosts withdraw
its names and send nothing to it at once, and its addresses stay its own.
weft.service does that when the machine is stopped or restarted, and not when
only weft is.`,
		Example: "  weft leave\n  weft leave --purge",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client(cmd)
			if err != nil {
				return err
			}
			if away && (how.Force || how.Purge) {
				return usageError("--away is refused with --force or --purge: a machine that shuts down keeps all that it has")
			}
			if away {
				return c.Away(cmd.Context())
			}
			left, err := c.Leave(cmd.Context(), how)
			if err != nil {
				return err
			}
			if _, err := os.Stat(left.State); how.Purge && err == nil {
				return fmt.Errorf("host %q has left the cluster, but not everything of weft's could be removed from it: weft's log says why; start weft again and repeat `weft leave --purge`", left.Host)
			}
			if _, err := fmt.Fprint(cmd.OutOrStdout(), leftText(left, how.Purge)); err != nil {
				return fmt.Errorf("write the answer: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&away, "away", false, "only say that this machine shuts down; keep all that it has")
	cmd.Flags().BoolVar(&how.Force, "force", false, "also if containers of this host are attached to networks of weft's")
	cmd.Flags().BoolVar(&how.Purge, "purge", false, "also remove everything of weft's on this host: its state, and what the kernel has")
	return cmd
}

// leftText says what a host still has of weft.
func leftText(left control.Left, purged bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Host %q has left the cluster. ", left.Host)
	if purged {
		b.WriteString("Nothing of weft's is left in its kernel, nor its state.\n")
	} else {
		b.WriteString("It joins again when weft is started again. Until then it keeps:\n")
		fmt.Fprintf(&b, "  - its state, %s\n", left.State)
		if len(left.Kernel) > 0 {
			fmt.Fprintf(&b, "  - in its kernel the namespaces %s and the nftables table inet weft, which containers use\n", strings.Join(left.Kernel, ", "))
		}
	}
	switch {
	case len(left.Docker) == 0:
	case purged:
		fmt.Fprintf(&b, "Docker here still has the networks %s: remove them with `docker network rm`, which takes 46 s each without weft.\n", strings.Join(left.Docker, ", "))
	default:
		fmt.Fprintf(&b, "  - in its Docker the networks %s\n", strings.Join(left.Docker, ", "))
	}
	if !purged {
		b.WriteString("With --purge it would have kept nothing but the networks in its Docker.\n")
	}
	return b.String()
}

// mayLeave says what this host has of weft, or why it may not leave.
func (d *daemon) mayLeave(ctx context.Context, force bool) (control.Left, error) {
	if err := d.registry.Departure().MayLeave(ctx, force); err != nil {
		return control.Left{}, err
	}
	left := control.Left{Host: d.cfg.Host, State: d.cfg.statePath(), Docker: []string{}, Kernel: []string{}}
	for _, n := range d.registry.Inventory().Docker {
		left.Docker = append(left.Docker, n.Title())
	}
	slices.Sort(left.Docker)
	if !force {
		return left, nil
	}
	ids, err := d.kernel.Networks()
	if err != nil {
		return left, err
	}
	for _, id := range ids {
		left.Kernel = append(left.Kernel, overlay.Namespace(id))
	}
	return left, nil
}

// retire takes this host out of the cluster, and the border out of its kernel.
func (d *daemon) retire(ctx context.Context) error {
	if err := d.registry.Departure().Retire(ctx); err != nil {
		return err
	}
	if err := d.kernel.RemoveBorder(); err != nil {
		d.log.WithError(err).Warn("The nftables table of weft is left in the kernel.")
	}
	return nil
}

// purge takes this host out of the cluster and removes everything of weft's from it.
// The state goes last, so while it is there, something may be left.
func (d *daemon) purge(ctx context.Context) error {
	if err := d.registry.Departure().Retire(ctx); err != nil {
		return err
	}
	if err := d.clearHost(ctx); err != nil {
		d.log.WithError(err).Error("Not everything of weft's could be removed from this host: start weft again and repeat `weft leave --purge`.")
	}
	return nil
}

// clearHost removes what weft has in the kernel, tunnels before the border, and
// its files.
func (d *daemon) clearHost(ctx context.Context) error {
	self := d.registry.Self()
	report, err := d.kernel.Set(ctx, overlay.Config{VTEP: self.VTEP, Port: self.Port}, false)
	if err != nil {
		return err
	}
	for _, err := range report.Failed {
		return err
	}
	if err := d.kernel.RemoveBorder(); err != nil {
		return err
	}
	return d.cfg.removeFiles()
}

// removeFiles removes this host's records, the state last.
func (c *config) removeFiles() error {
	files, err := filepath.Glob(c.statePath() + asideSuffix + "*")
	if err != nil {
		return fmt.Errorf("find the files set aside: %w", err)
	}
	if c.bolt != "" {
		files = append(files, c.bolt)
	}
	for _, file := range append(files, c.statePath()) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

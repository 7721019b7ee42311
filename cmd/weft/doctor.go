package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/doctor"
	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/consul"
)

func doctorCommand() *cobra.Command {
	var cfg config
	var only []string
	var list bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong on this host, and the cure",
		Long: fmt.Sprintf(`Doctor finds out what is wrong on this host, and says why and what to do.

The daemon makes the checks. If none answers, this command makes those that need
none; what it must know then, such as --state-dir, it takes from the flags and
variables of weft serve.

Exit code 0: nothing is wrong. A check's own code: only this check found
something; weft doctor --list shows the codes. %d: several checks did. 1: no
diagnosis could be made.`, doctor.SeveralCode),
		Example: `  weft doctor
  weft doctor --only daemon --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if list {
				return write(cmd, doctorList(), doctorListText)
			}
			if err := doctor.Known(only); err != nil {
				return usageError("%w", err)
			}
			d, err := diagnose(cmd, &cfg, only)
			if err != nil {
				return err
			}
			if err := write(cmd, d, func() string { return doctorText(d) }); err != nil {
				return err
			}
			if d.Code != 0 {
				return &exitError{code: d.Code}
			}
			return nil
		},
	}
	jsonFlag(cmd)
	cmd.Flags().StringSliceVar(&only, "only", nil, "names of the checks to make, separated by commas (default: all)")
	cmd.Flags().BoolVar(&list, "list", false, "list the checks with their exit codes and make none")
	cfg.flags(cmd.Flags())
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		f.Hidden = f.Name != "json" && f.Name != "only" && f.Name != "list"
	})
	return cmd
}

// diagnose has the daemon examine the host or, if there is none, does it here.
func diagnose(cmd *cobra.Command, cfg *config, only []string) (control.Diagnosis, error) {
	c, err := client(cmd)
	if err != nil {
		return control.Diagnosis{}, err
	}
	d, err := c.Doctor(cmd.Context(), only)
	if err == nil || !errors.Is(err, control.ErrAbsent) {
		return d, err
	}
	if os.Geteuid() != 0 {
		return d, errors.New("only root may look at what the checks look at: run this as root")
	}
	if err := fromEnvironment(cmd.LocalNonPersistentFlags(), os.LookupEnv); err != nil {
		return d, usageError("%w", err)
	}
	if err := cfg.validate(); err != nil {
		return d, usageError("%w", err)
	}
	h := &doctor.Host{NoDaemon: err}
	if err := cfg.nameHost("", os.Hostname); err != nil { // the state is not looked at: a daemon may be about to open it
		cfg.Host = "localhost"
	}
	if cfg.bolt == "" {
		store, err := openCluster(*cfg, netip.Addr{}, quiet(), nil)
		if err != nil {
			return d, err
		}
		defer store.Close()
		h.Store = examineStore(store, cfg.Host)
	}
	// The command does not wait for a check that hangs: its end closes everything.
	return cfg.examine(cmd.Context(), h, only, func(closing func()) { go closing() })
}

// examine makes the checks in the daemon.
func (d *daemon) examine(ctx context.Context, only []string) (control.Diagnosis, error) {
	d.checks.Add(1)
	defer d.checks.Done()
	return d.cfg.examine(ctx, &doctor.Host{
		State: d.view, Paths: d.prober.Ask, Store: examineStore(d.cluster, d.cfg.Host),
	}, only, d.checks.Go)
}

// examineStore is how the store is examined; nil if it is a file of this host's.
func examineStore(store kvstore.Store, host string) func(context.Context) (consul.Health, error) {
	if guarded, ok := store.(*format.Guarded); ok {
		store = guarded.Store
	}
	c, ok := store.(*consul.Store)
	if !ok {
		return nil
	}
	return func(ctx context.Context) (consul.Health, error) { return c.Examine(ctx, "doctor/"+host) }
}

// quiet is a logger for a command that says all it has to say by itself.
func quiet() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// examine makes the checks, after it has filled in what needs no daemon. It gives
// later a function that closes what the checks use, and waits for checks that hang.
func (c *config) examine(ctx context.Context, h *doctor.Host, only []string, later func(closing func())) (control.Diagnosis, error) {
	inspector, err := dataplane.NewInspector(dataplane.Options{NetnsDir: netnsDir})
	if err != nil {
		return control.Diagnosis{}, err
	}
	defer later(func() {
		h.Wait()
		_ = inspector.Close() // only sockets and a namespace's handle
	})
	h.Config, h.Kernel, h.Docker, h.Sysctl = c.forDoctor(), inspector, engine.AskVersions, doctor.ReadSysctl
	return doctor.Examine(ctx, h, only)
}

// forDoctor is what checks need to know of the configuration.
func (c *config) forDoctor() doctor.Config {
	return doctor.Config{
		Host: c.Host, Store: c.Store, Prefix: c.prefix, Port: c.Port, PushPort: c.PushPort, MTU: c.MTU, StateDir: c.StateDir, Docker: c.Docker,
	}
}

// doctorText is a line for each check, and for each finding its problem and cure.
func doctorText(d control.Diagnosis) string {
	var rows [][]string
	var found strings.Builder
	findings := 0
	for _, r := range d.Checks {
		result, wrong := "ok", len(r.Wrong())
		if wrong > 0 {
			result = plural(wrong, "finding", "findings")
		}
		if len(r.Follows) > 0 {
			result += ", which follow from " + strings.Join(r.Follows, ", ")
		}
		if r.Counts() {
			findings += wrong
		}
		if notes := len(r.Findings) - wrong; notes > 0 {
			result += ", " + plural(notes, "note", "notes")
		}
		if r.NotChecked != "" {
			result = strings.TrimPrefix(result+", ", "ok, ") + "not checked: " + r.NotChecked
		}
		rows = append(rows, []string{r.Check, result, r.About})
		for _, f := range r.Findings {
			fmt.Fprintf(&found, "\n%s (%s, %s): %s\n  To do: %s.\n", f.Check, f.Severity, printable(f.Object), sentence(f.Problem), printable(strings.TrimSuffix(f.Cure, ".")))
		}
	}
	out := table([]string{"CHECK", "RESULT", "ABOUT"}, rows) + found.String()
	if findings == 0 {
		return out + "\nNothing was found that is wrong with host " + d.Host + ".\n"
	}
	return out
}

// sentence ends with a full stop.
func sentence(s string) string { return printable(strings.TrimSuffix(s, ".")) + "." }

// checkInfo is one element of what `weft doctor --list --json` writes.
type checkInfo struct {
	Check string `json:"check"`
	Code  int    `json:"code"`
	About string `json:"about"`
}

func doctorList() []checkInfo {
	var out []checkInfo
	for _, c := range doctor.All {
		out = append(out, checkInfo{c.Name, c.Code, c.About})
	}
	return out
}

func doctorListText() string {
	var rows [][]string
	for _, c := range doctor.All {
		rows = append(rows, []string{c.Name, fmt.Sprint(c.Code), c.About})
	}
	return table([]string{"CHECK", "CODE", "ABOUT"}, rows)
}

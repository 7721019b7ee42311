package main

import (
	"context"
	"os"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	var cfg config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the plugin on this host",
		Long: `Run the plugin on this host until SIGTERM or SIGINT.

Run one beside each Docker daemon, as root, before or after Docker, and all with
the same store. Running containers keep their traffic when it ends or starts;
while it is away they do not find those of other hosts by name.

Every flag can be given as an environment variable: WEFT_ and the flag's name
in capitals and with underscores, as in WEFT_LOG_LEVEL=debug. A flag wins. The
token and the certificates for Consul come from its own variables, such as
CONSUL_HTTP_TOKEN, CONSUL_HTTP_SSL and CONSUL_CACERT.

A setting that weft cannot use is refused at the start, with exit code 2 and a
sentence that says why.`,
		Example: `  # this host alone, with its records in a file
  weft serve

  # one of a cluster's hosts
  weft serve --store consul://192.0.2.10:8500,192.0.2.11:8500,192.0.2.12:8500

  # with an underlay of its own, more subnets, and metrics
  weft serve --store consul://192.0.2.10:8500 --advertise eth1 \
      --pool 10.128.0.0/10:24 --pool fd00:10::/48:64 --metrics 127.0.0.1:9477`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd.LocalNonPersistentFlags(), os.LookupEnv); err != nil {
				return usageError("%w", err)
			}
			control, err := client(cmd)
			if err != nil {
				return err
			}
			cfg.Control = control.Socket
			if err := cfg.validate(); err != nil {
				return usageError("%w", err)
			}
			return serve(cmd.Context(), cfg, logger(cmd, cfg))
		},
	}
	cfg.flags(cmd.Flags())
	return cmd
}

// logger makes the process's only logger.
func logger(cmd *cobra.Command, cfg config) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(cmd.ErrOrStderr())
	log.SetLevel(cfg.level)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	if cfg.LogFormat == "json" {
		log.SetFormatter(&logrus.JSONFormatter{})
	}
	return log
}

// serve builds the daemon and runs it until ctx ends.
func serve(ctx context.Context, cfg config, log *logrus.Logger) error {
	d, err := newDaemon(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}

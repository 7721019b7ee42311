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

Every flag can be given as an environment variable: WEFT_ and the flag's name
in capitals with '_' for '-', as in WEFT_LOG_LEVEL=debug. A flag wins.`,
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

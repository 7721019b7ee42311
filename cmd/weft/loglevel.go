package main

import (
	"fmt"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

// levels are the names of how much is logged.
var levels = map[string]logrus.Level{
	"debug": logrus.DebugLevel, "info": logrus.InfoLevel, "warn": logrus.WarnLevel, "error": logrus.ErrorLevel,
}

// parseLevel reads how much is to be logged. The error is the end of a sentence.
func parseLevel(name string) (logrus.Level, error) {
	level, ok := levels[name]
	if !ok {
		return 0, fmt.Errorf("%q is refused: it takes debug, info, warn or error", name)
	}
	return level, nil
}

func logLevelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "log-level LEVEL", Short: "Change how much the daemon logs",
		Long: `Change how much the daemon of this host logs, until its end: debug, info, warn
or error. What it begins with is --log-level of ` + "`weft serve`." + `

With debug it logs each of Docker's calls.`,
		Example:           "  weft log-level debug",
		ValidArgsFunction: complete(levelNames),
		Args:              oneArg("a level: debug, info, warn or error"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := parseLevel(args[0]); err != nil {
				return usageError("log level %w", err)
			}
			c, err := client(cmd)
			if err != nil {
				return err
			}
			return c.LogLevel(cmd.Context(), args[0])
		},
	}
}

// setLogLevel changes how much the daemon logs.
func (d *daemon) setLogLevel(name string) error {
	level, err := parseLevel(name)
	if err != nil {
		return fmt.Errorf("log level %w", err)
	}
	was := d.log.GetLevel()
	d.log.SetLevel(max(was, level, logrus.InfoLevel)) // so that the log tells why it falls silent
	d.log.WithFields(logrus.Fields{"was": was, "is": level}).Info("Another log level was asked for.")
	d.log.SetLevel(level)
	return nil
}

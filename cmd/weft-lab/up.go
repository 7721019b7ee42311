package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/test/lab"
)

func upCommand(at *place) *cobra.Command {
	c := lab.Config{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the lab: switch, Consul servers, Docker hosts with weft",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Name, c.Dir, c.Progress = at.name, at.dir, cmd.ErrOrStderr()
			l, err := lab.Up(cmd.Context(), c)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), howToPlay(l))
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&c.Hosts, "hosts", 3, "Docker hosts")
	f.IntVar(&c.Consuls, "consul", 1, "Consul servers, 1 or 3")
	f.StringVar(&c.Dockerd, "dockerd", "", "path of the Docker daemon; its directory is searched for docker, containerd and runc first")
	f.StringSliceVar(&c.Docker, "docker", nil, "versions of Docker for the hosts in turn, as in 20.10,28.5,29 (default: $WEFT_DOCKER_VERSION, else the machine's)")
	f.StringVar(&c.Weft, "weft", "", "path of weft (default: $WEFT_BIN, beside this program, PATH)")
	f.BoolVar(&c.NoWeft, "no-weft", false, "make plain Docker hosts")
	f.StringArrayVar(&c.WeftArgs, "weft-arg", nil, "one more argument for weft serve")
	f.StringArrayVar(&c.DockerdArgs, "dockerd-arg", nil, "one more argument for the Docker daemon")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		// Zero would mean the default to test/lab, but nobody types it for that.
		if c.Hosts == 0 || c.Consuls == 0 {
			return errors.New("a lab without hosts or without Consul is no lab: give --hosts 1 or more and --consul 1 or 3")
		}
		return nil
	}
	return cmd
}

func downCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab, in whatever state it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			was, err := lab.Remove(cmd.Context(), at.name, at.dir)
			if err == nil && !was {
				fmt.Fprintf(cmd.ErrOrStderr(), "there is no lab %s\n", at.name)
			}
			return err
		},
	}
}

// howToPlay tells what to do with a running lab.
func howToPlay(l *lab.Lab) string {
	self := "weft-lab"
	if l.Name() != lab.DefaultName {
		self += " --lab " + l.Name()
	}
	return fmt.Sprintf(`
To play:  %[1]s exec h1 -- docker run --rm -it busybox
          %[1]s shell h1
          %[1]s ps
To stop:  %[1]s down
`, self)
}

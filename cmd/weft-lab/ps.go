package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/test/lab"
)

// row is one program of the lab, a line of ps.
type row struct {
	Member  string `json:"member"`
	Address string `json:"address"`
	Service string `json:"service"`
	PID     int    `json:"pid"` // 0: does not run
	Log     string `json:"log"`
}

func psCommand(at *place) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the lab's programs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := at.open()
			if err != nil {
				return err
			}
			rows := rowsOf(l)
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(rows)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "MEMBER\tADDRESS\tSERVICE\tPID\tLOG")
			for _, r := range rows {
				state := "down"
				if r.PID != 0 {
					state = fmt.Sprint(r.PID)
				}
				fmt.Fprintln(w, strings.Join([]string{r.Member, r.Address, r.Service, state, r.Log}, "\t"))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func rowsOf(l *lab.Lab) []row {
	var rows []row
	for _, c := range l.Consuls() {
		rows = append(rows, row{c.Name(), c.Addr().String(), "consul", c.PID(), c.Log()})
	}
	for _, h := range l.Hosts() {
		for _, s := range h.Services() {
			rows = append(rows, row{h.Name(), h.Addr().String(), string(s), h.PID(s), h.Log(s)})
		}
	}
	return rows
}

package main

import "github.com/spf13/cobra"

func sceneCommand(at *place) *cobra.Command {
	return &cobra.Command{Use: "scene", RunE: func(*cobra.Command, []string) error { return nil }}
}

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/driver/mirror/engine"
)

// Filled in by the build, see Makefile.
var (
	version = "dev"
	commit  = "unknown"
)

// pluginAPI is the version of Docker's plugin protocol that weft answers in
// (package driver/plugin).
const pluginAPI = "1.2"

// versionInfo is what `weft version --json` writes.
type versionInfo struct {
	Version   string `json:"version"`
	Commit    string `json:"commit"`
	Go        string `json:"go"` // of the toolchain
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	PluginAPI string `json:"plugin_api"` // of Docker's plugin protocol
	DockerAPI api    `json:"docker_api"`
}

// api is a range of versions of Docker's API. weft uses the newest that Docker speaks
// too. With an older Docker no networks are mirrored.
type api struct {
	Min string `json:"min"`
	Max string `json:"max"`
}

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "The version of this program (the daemon's is in weft status)", Args: noArgs,
		Long: `Tell the version of this program, and of Docker's protocols that it speaks. The
version of the running daemon is in ` + "`weft status`" + `.`,
		Example: "  weft version --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionInfo{version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, pluginAPI, api{engine.MinAPI, engine.MaxAPI}}
			return write(cmd, v, func() string { return versionText(v) })
		},
	}
	jsonFlag(cmd)
	return cmd
}

func versionText(v versionInfo) string {
	return fmt.Sprintf("weft %s (commit %s, %s, %s/%s, Docker API %s to %s, Docker plugin API %s)\n",
		v.Version, v.Commit, v.Go, v.OS, v.Arch, v.DockerAPI.Min, v.DockerAPI.Max, v.PluginAPI)
}

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
)

// settings is what a lab remembers about itself in DIR/lab.json.
type settings struct {
	Name        string   `json:"name"`
	Hosts       int      `json:"hosts"`
	Consuls     int      `json:"consuls"`
	Engines     []engine `json:"engines"`        // the hosts' in turn
	Weft        string   `json:"weft,omitempty"` // empty: plain Docker hosts
	Consul      string   `json:"consul"`
	Busybox     string   `json:"busybox"`
	Iptables    string   `json:"iptables,omitempty"`
	WeftArgs    []string `json:"weft_args,omitempty"`
	DockerdArgs []string `json:"dockerd_args,omitempty"`
	ConsulArgs  []string `json:"consul_args,omitempty"`
	Env         []string `json:"env,omitempty"`
}

const settingsFile = "lab.json"

// save writes the settings of a new lab, the first file in its directory.
func (s settings) save(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the lab's settings: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, settingsFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the lab's settings: %w", err)
	}
	return nil
}

func loadSettings(dir string) (settings, error) {
	var s settings
	text, err := os.ReadFile(filepath.Join(dir, settingsFile))
	if errors.Is(err, os.ErrNotExist) {
		return s, refuse("there is no lab in %s; make one with weft-lab up", dir)
	}
	if err != nil {
		return s, fmt.Errorf("read the lab's settings: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read the lab's settings in %s: %w; remove the lab with weft-lab down", dir, err)
	}
	return s, nil
}

// mark is the environment variable every process of a lab carries; its value
// is the lab's state directory.
const mark = "WEFTLAB"

// memberMark is another one, whose value is the name of the lab's member.
const memberMark = "WEFTLAB_MEMBER"

// cgroup is the parent of all of the lab's cgroups, a path below the root of
// each hierarchy. The hash keeps apart labs of one name in two directories.
// Labs share no parent: one going would take it from under one coming.
func cgroup(name, dir string) string {
	h := fnv.New32a()
	h.Write([]byte(dir))
	return fmt.Sprintf("%s%s-%08x", cgroupPrefix, name, h.Sum32())
}

// cgroupPrefix begins the name of every lab's cgroup.
const cgroupPrefix = "/weft-lab-"

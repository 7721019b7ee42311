package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
)

// Image is the image every host has.
const Image = "busybox:latest"

// writeImage makes a tarball, as docker save does, of an image which holds a
// busybox binary and a link for each of its applets. The same binary gives the
// same bytes.
func writeImage(tarball, busybox string) error {
	layer, err := busyboxLayer(busybox)
	if err != nil {
		return fmt.Errorf("make the image %s: %w", Image, err)
	}
	layerName := fmt.Sprintf("%x", sha256.Sum256(layer))
	const created = "1970-01-01T00:00:00Z"
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      created,
		"config": map[string]any{
			"Cmd": []string{"sh"},
			"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerName}},
		"history": []map[string]string{{"created": created, "created_by": "weft-lab"}},
	})
	if err != nil {
		return fmt.Errorf("make the image %s: %w", Image, err)
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{Image}, "Layers": []string{layerName + "/layer.tar"},
	}})
	if err != nil {
		return fmt.Errorf("make the image %s: %w", Image, err)
	}

	var all bytes.Buffer
	tw := tar.NewWriter(&all)
	t := &tarFiles{tw: tw}
	t.file(layerName+"/layer.tar", 0o644, layer)
	t.file(configName, 0o644, config)
	t.file("manifest.json", 0o644, manifest)
	if err := t.close(); err != nil {
		return fmt.Errorf("make the image %s: %w", Image, err)
	}
	if err := os.WriteFile(tarball, all.Bytes(), 0o644); err != nil {
		return fmt.Errorf("make the image %s: %w", Image, err)
	}
	return nil
}

// busyboxLayer returns the root file system as a tar.
func busyboxLayer(busybox string) ([]byte, error) {
	binary, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(busybox, "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its applets: %w", busybox, err)
	}
	var layer bytes.Buffer
	t := &tarFiles{tw: tar.NewWriter(&layer)}
	for _, dir := range []string{"bin", "dev", "etc", "home", "proc", "root", "sbin", "sys", "usr", "usr/bin", "usr/sbin", "var"} {
		t.dir(dir, 0o755)
	}
	t.dir("tmp", 0o777|fs.ModeSticky)
	t.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"))
	t.file("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	const target = "bin/busybox"
	t.file(target, 0o755, binary)
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet = strings.TrimPrefix(applet, "/"); applet == target || !knownDir(path.Dir(applet)) {
			continue
		}
		t.link(applet, target)
	}
	if err := t.close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

func knownDir(dir string) bool {
	switch dir {
	case "bin", "sbin", "usr/bin", "usr/sbin":
		return true
	}
	return false
}

// tarFiles writes a tar and remembers the first error.
type tarFiles struct {
	tw  *tar.Writer
	err error
}

func (t *tarFiles) add(h *tar.Header, content []byte) {
	if t.err == nil {
		t.err = t.tw.WriteHeader(h)
	}
	if t.err == nil {
		_, t.err = t.tw.Write(content)
	}
}

func (t *tarFiles) dir(name string, mode fs.FileMode) {
	bits := int64(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: bits}, nil)
}

func (t *tarFiles) file(name string, mode int64, content []byte) {
	t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, content)
}

func (t *tarFiles) link(name, target string) {
	t.add(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o755}, nil)
}

func (t *tarFiles) close() error {
	if t.err != nil {
		return t.err
	}
	return t.tw.Close()
}

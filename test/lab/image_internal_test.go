package lab

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// The image is what docker save makes: a manifest whose files are all there,
// and the same for the same busybox.
func TestImageIsComplete(t *testing.T) {
	busybox, err := program("busybox", "/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for range 2 {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := writeImage(path, busybox); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, text) {
			t.Error("the second image differs from the first")
		}
		first = text
	}

	files := untar(t, first)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 || len(manifest[0].RepoTags) != 1 || manifest[0].RepoTags[0] != Image {
		t.Fatalf("the manifest is %+v", manifest)
	}
	if files[manifest[0].Config] == nil {
		t.Errorf("the image lacks its configuration %s", manifest[0].Config)
	}
	layer := untar(t, files[manifest[0].Layers[0]])
	for _, name := range []string{"bin/busybox", "bin/sh", "bin/ping", "etc/passwd", "tmp/"} {
		if _, ok := layer[name]; !ok {
			t.Errorf("the image lacks /%s", name)
		}
	}
}

func untar(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	r := tar.NewReader(bytes.NewReader(text))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = content
	}
}

func TestDynamicBusyboxIsRefused(t *testing.T) {
	sh, err := program("sh", "/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := mustBeStatic(sh); err == nil {
		t.Errorf("an image of %s, which needs a loader, is accepted", sh)
	}
}

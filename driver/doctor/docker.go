package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/mirror/engine"
)

var dockerCheck = Check{
	Name: "docker", Code: 24, About: "Docker's API answers, in a version that weft speaks",
	Run: func(ctx context.Context, h *Host) ([]Finding, error) {
		if h.Config.Docker == "" {
			return nil, NotMade(`weft is told not to use Docker's API (--docker="")`)
		}
		engine, err := h.Docker(ctx, h.Config.Docker)
		return dockerFindings(h.Config.Docker, engine, err), nil
	},
}

func dockerFindings(at string, e engine.Versions, err error) []Finding {
	found := func(problem, cure string) []Finding {
		return []Finding{{
			Object: at, Severity: control.Broken, Cure: cure,
			Problem: problem + ", so networks are not mirrored and new containers have no names",
		}}
	}
	path := strings.TrimPrefix(at, "unix://")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found(fmt.Sprintf("there is no socket %s of Docker's", path), "start Docker (systemctl start docker), name the socket with --docker, or mount it into weft's container")
	case errors.Is(err, syscall.ECONNREFUSED):
		return found(fmt.Sprintf("nobody listens on Docker's socket %s", path), "start Docker (systemctl start docker); a container of weft must mount the socket's directory, for Docker makes the socket anew")
	case errors.Is(err, fs.ErrPermission):
		return found(fmt.Sprintf("weft may not open Docker's socket %s", path), "run weft as root, and look for an SELinux or AppArmor rule against it")
	case err != nil:
		return found(fmt.Sprintf("Docker's API at %s does not answer: %v", at, err), "read Docker's log (journalctl -u docker) and restart Docker if it hangs")
	case e.Newest != "" && older(e.Newest, engine.MinAPI):
		return found(fmt.Sprintf("Docker's API at %s has version %s and weft needs %s", at, e.Newest, engine.MinAPI), "update Docker to 1.12 or newer")
	case e.Oldest != "" && older(engine.MaxAPI, e.Oldest):
		return found(fmt.Sprintf("Docker's API at %s takes only versions from %s on and weft speaks up to %s", at, e.Oldest, engine.MaxAPI), "update weft")
	}
	return nil
}

// older compares versions of Docker's API, MAJOR.MINOR.
func older(a, b string) bool {
	number := func(s string) (major, minor int) {
		first, second, _ := strings.Cut(s, ".")
		major, _ = strconv.Atoi(first)
		minor, _ = strconv.Atoi(second)
		return major, minor
	}
	majorA, minorA := number(a)
	majorB, minorB := number(b)
	return majorA < majorB || majorA == majorB && minorA < minorB
}

package mirror

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/overlay"
)

// inUse is a Docker that refuses to remove a network, and shows these endpoints.
type inUse map[string]engine.Shown

func (inUse) Networks(context.Context) ([]engine.Network, error) { return nil, nil }
func (inUse) Running(context.Context) ([]engine.Endpoint, error) { return nil, nil }
func (inUse) Create(context.Context, string, string, overlay.Network) (string, error) {
	return "", errors.New("not asked for")
}
func (inUse) Remove(context.Context, string) error { return errdefs.ErrPermissionDenied }
func (d inUse) Endpoints(context.Context, string) (map[string]engine.Shown, bool, error) {
	return d, true, nil
}

// A network that Docker will not remove is in use, or Docker has miscounted.
func TestWhyDockerKeepsANetwork(t *testing.T) {
	a := action{docker: engine.Network{ID: "0123456789abcdef", Name: "web"}, why: "it was removed from the cluster"}
	for _, tt := range []struct {
		docker inUse
		want   string
	}{
		{inUse{"e1": {Name: "shop"}}, "containers use it: disconnect or remove them"},
		{inUse{}, "Docker says that containers use it but shows none, so it has miscounted: restart it (systemctl restart docker), and it counts anew"},
	} {
		s := &session{maker: tt.docker}
		if err := s.remove(t.Context(), a); err == nil || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

// docking is a Docker that makes every network under one id.
type docking struct{ inUse }

func (docking) Create(context.Context, string, string, overlay.Network) (string, error) {
	return "0123456789abcdef", nil
}

type noRecords struct{ Registry }

func (noRecords) Mirroring(string) func() { return func() {} }

// The log says under which id Docker has what it was asked for.
func TestTheLogHasDockersIDOfAMirroredNetwork(t *testing.T) {
	log, hook := test.NewNullLogger()
	s := &session{Mirror: &Mirror{cfg: Config{Registry: noRecords{}, Log: log}}, maker: docking{}}
	if err := s.do(t.Context(), action{kind: doCreate, network: overlay.Network{ID: "a", Name: "web"}}); err != nil {
		t.Fatal(err)
	}
	if got := hook.LastEntry().Data["docker"]; got != "0123456789abcdef" {
		t.Errorf("the log has the id %q", got)
	}
}

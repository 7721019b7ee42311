package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/whole"
)

// forgetting is how long weft may take until it believes that what nobody has
// is nobody's: some of it waits for a minute or two.
const forgetting = 150 * time.Second

// leak is what is left of a stage when its containers and networks are gone.
type leak struct {
	Goroutines int    `json:"goroutines"` // more than before the first network, on any host
	Namespaces int    `json:"namespaces"` // of networks
	Links      int    `json:"links"`      // ends of veth pairs
	Records    int    `json:"records"`    // in the store
	Error      string `json:"error,omitempty"`
}

func (l leak) none() bool { return l == leak{} }

// max is the worse of both, each value for itself.
func (l leak) max(o leak) leak {
	out := leak{
		Goroutines: max(l.Goroutines, o.Goroutines), Namespaces: max(l.Namespaces, o.Namespaces),
		Links: max(l.Links, o.Links), Records: max(l.Records, o.Records), Error: l.Error,
	}
	if out.Error == "" {
		out.Error = o.Error
	}
	return out
}

// leaks removes everything and counts what is left of it a while later.
func (s *stage) leaks(ctx context.Context) leak {
	for _, h := range s.lab.Hosts() {
		if err := h.RemoveContainers(ctx); err != nil {
			return leak{Error: err.Error()}
		}
	}
	for _, n := range networks {
		// The hosts have to know first that the last container is gone.
		err := until(ctx, 20*time.Second, func(ctx context.Context) error {
			_, err := s.lab.Host("h1").Docker(ctx, "network", "rm", n)
			if err != nil && (strings.Contains(err.Error(), "not found") || strings.Contains(err.Error(), "No such network")) {
				return nil
			}
			return err
		})
		if err != nil {
			return leak{Error: err.Error()}
		}
	}
	var left leak
	_ = until(ctx, forgetting, func(limited context.Context) error {
		now := s.left(limited)
		if limited.Err() == nil {
			left = now
		}
		if !left.none() {
			return fmt.Errorf("%+v", left)
		}
		return nil
	}) // what is left then is the result
	return left
}

func (s *stage) left(ctx context.Context) leak {
	var out leak
	for _, h := range s.lab.Hosts() {
		u, err := s.cluster.Usage(ctx, h.Name())
		if err != nil {
			return leak{Error: err.Error()}
		}
		out.Goroutines = max(out.Goroutines, u.Goroutines-s.idle.Goroutines)
		spaces, _ := h.Run(ctx, "ls", "/run/netns") // there may be none yet
		out.Namespaces += strings.Count(spaces, overlay.NamespacePrefix)
		links, err := h.Run(ctx, "ls", "/sys/class/net")
		if err != nil {
			return leak{Error: err.Error()}
		}
		for l := range strings.FieldsSeq(links) {
			if overlay.IsPortLink(l) || overlay.IsContainerLink(l) || overlay.IsFastOuter(l) {
				out.Links++
			}
		}
	}
	records, err := s.cluster.Records(ctx)
	if err != nil {
		return leak{Error: err.Error()}
	}
	out.Records = len(whole.StoreDiffers(records, nil, nil))
	return out
}

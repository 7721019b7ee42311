package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	firstConsul = 2
	firstHost   = 11
)

// Lab is a running lab. Its methods may be called from several goroutines and
// from several processes at once.
type Lab struct {
	settings settings

	dir     string
	sw      *member
	hosts   []*Host
	consuls []*Consul

	children   sync.WaitGroup // processes started here and not yet reaped
	namespaces []string       // what Down saw, for Leaks
	progress   progress
}

// Up builds a lab and returns when all of it is ready: a Consul leader, weft
// listening, Docker answering, the image busybox:latest on every host. When
// anything fails, or ctx ends, what was built is removed again.
func Up(ctx context.Context, c Config) (*Lab, error) {
	name, dir, err := directory(c.Name, c.Dir)
	if err != nil {
		return nil, err
	}
	c.Name = name
	s, err := c.resolved()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("make the lab %s: %w", name, err)
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
		return nil, refuse("the lab %s already exists in %s; remove it first with weft-lab down", name, dir)
	} else if err != nil {
		return nil, fmt.Errorf("make the lab %s: %w", name, err)
	}
	l := newLab(s, dir)
	l.progress = progress{w: c.Progress, began: time.Now()}
	if err := l.build(ctx); err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("make the lab %s: %w", name, err), l.Down(cleanup))
	}
	return l, nil
}

// Open returns the lab of that name below the directory base; empty strings
// mean the defaults.
func Open(name, base string) (*Lab, error) {
	_, dir, err := directory(name, base)
	if err != nil {
		return nil, err
	}
	s, err := loadSettings(dir)
	if err != nil {
		return nil, err
	}
	return newLab(s, dir), nil
}

func newLab(s settings, dir string) *Lab {
	l := &Lab{settings: s, dir: dir}
	l.sw = &member{lab: l, name: switchName, number: switchNumber}
	for i := range s.Consuls {
		l.consuls = append(l.consuls, newConsul(l, i))
	}
	for i := range s.Hosts {
		l.hosts = append(l.hosts, newHost(l, i))
	}
	return l
}

// build makes everything, in the order in which a real cluster boots: network,
// Consul, then on each host weft before Docker.
func (l *Lab) build(ctx context.Context) error {
	if err := l.settings.save(l.dir); err != nil {
		return err
	}
	if err := l.linkIptables(); err != nil {
		return err
	}
	if err := l.makeMembers(ctx); err != nil {
		return err
	}
	l.progress.say("the underlay joins %d hosts and %d Consul servers", len(l.hosts), len(l.consuls))

	tarball := filepath.Join(l.dir, "busybox.tar")
	ready, ctx := errgroup.WithContext(ctx)
	leader := make(chan struct{})
	ready.Go(func() error {
		if err := l.startConsuls(ctx); err != nil {
			return err
		}
		l.progress.say("Consul has a leader")
		close(leader)
		return nil
	})
	if err := writeImage(tarball, l.settings.Busybox); err != nil {
		return errors.Join(err, ready.Wait())
	}
	for _, h := range l.hosts {
		ready.Go(func() error {
			if l.settings.Weft != "" {
				select {
				case <-leader:
				case <-ctx.Done():
					return nil // the error which ended ctx is reported
				}
				if err := h.Start(ctx, Weft); err != nil {
					return err
				}
				l.progress.say("%s: weft listens", h.name)
			}
			if err := h.Start(ctx, Dockerd); err != nil {
				return err
			}
			l.progress.say("%s: Docker answers", h.name)
			if err := h.Load(ctx, tarball); err != nil {
				return err
			}
			l.progress.say("%s: has %s", h.name, Image)
			return nil
		})
	}
	return ready.Wait()
}

func (l *Lab) makeMembers(ctx context.Context) error {
	for _, h := range l.hosts {
		if err := h.furnish(); err != nil {
			return err
		}
	}
	members := l.members()
	holding, holdCtx := errgroup.WithContext(ctx)
	for _, m := range append(members, l.sw) {
		holding.Go(func() error { return m.hold(holdCtx) })
	}
	if err := holding.Wait(); err != nil {
		return err
	}
	if err := l.plug(ctx, members); err != nil {
		return err
	}
	addressing, addressCtx := errgroup.WithContext(ctx)
	for _, m := range members {
		addressing.Go(func() error { return m.address(addressCtx) })
	}
	return addressing.Wait()
}

// Name returns the lab's name.
func (l *Lab) Name() string { return l.settings.Name }

// Dir returns the lab's state directory.
func (l *Lab) Dir() string { return l.dir }

// Hosts returns the Docker hosts, h1 first.
func (l *Lab) Hosts() []*Host { return l.hosts }

// Consuls returns the Consul servers, consul1 first.
func (l *Lab) Consuls() []*Consul { return l.consuls }

// Host returns the host of that name, nil if there is none.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

// Consul returns the i-th Consul server, from 1; nil if there is none.
func (l *Lab) Consul(i int) *Consul {
	if i < 1 || i > len(l.consuls) {
		return nil
	}
	return l.consuls[i-1]
}

// members returns everything plugged into the switch.
func (l *Lab) members() []*member {
	var all []*member
	for _, c := range l.consuls {
		all = append(all, &c.member)
	}
	for _, h := range l.hosts {
		all = append(all, &h.member)
	}
	return all
}

func (l *Lab) member(name string) (*member, error) {
	var names []string
	for _, m := range l.members() {
		if m.name == name {
			return m, nil
		}
		names = append(names, m.name)
	}
	return nil, refuse("the lab %s has no %q; it has %s", l.Name(), name, strings.Join(names, ", "))
}

// environ is the environment of everything that runs in the lab: none of the
// caller's, whose proxies, tokens and Docker contexts mean other machines. The
// programs beside the daemon of e, if it has one, come first.
func (l *Lab) environ(e engine) []string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if l.settings.Weft != "" {
		path = filepath.Dir(l.settings.Weft) + ":" + path
	}
	if e.Dockerd != "" {
		path = filepath.Dir(e.Dockerd) + ":" + path
	}
	if l.settings.Iptables != "" {
		path = l.iptablesDir() + ":" + path
	}
	env := []string{
		"PATH=" + path,
		"HOME=/root",
		"LANG=C.UTF-8",
		"DOCKER_HOST=unix://" + dockerSocket,
		"DOCKER_CONFIG=/run/docker-cli",
		mark + "=" + l.dir,
	}
	if e.Version == "" {
		// Docker 29 refuses clients older than API 1.44 unless told
		// otherwise, and the client may be the distribution's.
		env = append(env, "DOCKER_MIN_API_VERSION=1.24")
	}
	for _, name := range []string{"GORACE", "GOCOVERDIR", "GODEBUG", "GOTRACEBACK"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, l.settings.Env...)
}

// progress tells a person how far the lab is.
type progress struct {
	w     io.Writer
	began time.Time
	mu    sync.Mutex
}

func (p *progress) say(format string, args ...any) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%5.1fs  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Down removes the lab: its processes, with them its namespaces, links and
// mounts, then its cgroups and its state directory. The Lab is of no use
// afterwards, except for Leaks.
func (l *Lab) Down(ctx context.Context) error {
	if l.progress.w != nil {
		l.progress.began = time.Now()
	}
	namespaces, err := remove(ctx, l.Name(), l.dir)
	l.namespaces = append(l.namespaces, namespaces...)
	if err != nil {
		return err
	}
	l.children.Wait()
	l.progress.say("the lab %s is gone", l.Name())
	return nil
}

// Remove removes the lab of that name below the directory base, in whatever
// state it is: running, half built, its processes killed, its directory
// damaged. It reports whether there was anything.
func Remove(ctx context.Context, name, base string) (bool, error) {
	name, dir, err := directory(name, base)
	if err != nil {
		return false, err
	}
	before, err := traces(name, dir)
	if err != nil {
		return false, err
	}
	_, err = remove(ctx, name, dir)
	return len(before) > 0, err
}

// remove also returns the namespaces the lab's processes were in.
func remove(ctx context.Context, name, dir string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	fail := func(err error) error { return fmt.Errorf("remove the lab %s: %w", name, err) }

	var namespaces []string
	// Everything is killed at once: what is torn down with its namespace needs
	// no farewell. More than one round, for what was being forked meanwhile.
	err := until(ctx, func() error {
		found, err := findProcesses(name, dir)
		if err != nil {
			return final{err}
		}
		if len(found.processes) == 0 {
			return nil
		}
		namespaces = append(namespaces, found.namespaces...)
		for _, p := range found.processes {
			if err := p.signal(unix.SIGKILL); err != nil {
				return final{err}
			}
		}
		return fmt.Errorf("%d processes do not end, the first is %d", len(found.processes), found.processes[0].pid)
	})
	if err != nil {
		return namespaces, fail(err)
	}
	if err := until(ctx, func() error { return removeCgroups(cgroup(name, dir)) }); err != nil {
		return namespaces, fail(err)
	}
	// Mount namespaces die a moment after their last process.
	if err := until(ctx, func() error { return os.RemoveAll(dir) }); err != nil {
		return namespaces, fail(err)
	}
	return namespaces, nil
}

// cgroupDirs returns the directories of the cgroup in every hierarchy, v1 and
// v2.
func cgroupDirs(parent string) ([]string, error) {
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup" + parent, "/sys/fs/cgroup/*" + parent} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("find cgroups: %w", err)
		}
		found = append(found, dirs...)
	}
	return found, nil
}

// removeCgroups removes the cgroup and all below it in every hierarchy. A
// cgroup whose last process just died may still be busy.
func removeCgroups(parent string) error {
	dirs, err := cgroupDirs(parent)
	if err != nil {
		return final{err}
	}
	var errs []error
	for _, dir := range dirs {
		var all []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return err
		})
		errs = append(errs, err)
		for _, inner := range slices.Backward(all) {
			if err := unix.Rmdir(inner); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("remove the cgroup %s: %w", inner, err))
			}
		}
	}
	return errors.Join(errs...)
}

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// netnsDir is /run/netns by the name that ip-netns(8) uses. A managed plugin
// has its own /run, where Docker puts its socket, and has the host's at /var/run:
// mounts made below that are the host's and outlive the plugin.
const netnsDir = "/var/run/netns"

// sysctls is where the kernel's settings are.
const sysctls = "/proc/sys"

// writableSysctls makes /proc/sys writable, which is read-only in containers and so in
// managed plugins. On a host it finds nothing to do.
func writableSysctls() error {
	var st unix.Statfs_t
	if err := unix.Statfs(sysctls, &st); err != nil {
		return fmt.Errorf("look at %s: %w", sysctls, err)
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", sysctls, "", flags, ""); err != nil {
		return fmt.Errorf("make %s writable: %w; a container of weft needs CAP_SYS_ADMIN, and no AppArmor or seccomp profile that forbids mounting", sysctls, err)
	}
	return nil
}

// Command guest is the first process of a virtual machine, which runs one command and
// says how it ended, and the program that the kernel calls there for a module.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 { // what the kernel calls: PROGRAM -q -- NAME
		if err := load(os.Args[len(os.Args)-1]); err != nil {
			os.Exit(1)
		}
		return
	}
	code, err := start()
	if err != nil {
		fmt.Println("guest:", err) // on the kernel's console
	} else if err := os.WriteFile("/dev/ttyS2", []byte(strconv.Itoa(code)+"\n"), 0); err != nil {
		fmt.Println("guest:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// start makes a system ready and runs the command there.
func start() (code int, err error) {
	for _, m := range [][3]string{
		{"proc", "/proc", "proc"},
		{"sysfs", "/sys", "sysfs"},
		{"devtmpfs", "/dev", "devtmpfs"},
		{"tmpfs", "/tmp", "tmpfs"},
		{"tmpfs", "/run", "tmpfs"},
		{"tmpfs", "/var", "tmpfs"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2"},
	} {
		if err := unix.Mount(m[0], m[1], m[2], 0, ""); err != nil {
			return 0, fmt.Errorf("mount %s: %w", m[1], err)
		}
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("/init"), 0); err != nil {
		return 0, err
	}
	out, err := raw("/dev/ttyS1")
	if err != nil {
		return 0, err
	}
	command, noCommand := words("/guest/command")
	env, noEnv := words("/guest/env")
	dir, noDir := words("/guest/dir")
	if err := errors.Join(noCommand, noEnv, noDir); err != nil {
		return 0, err
	}
	os.Clearenv() // of what the kernel passes on
	for _, v := range append([]string{"PATH=/bin", "HOME=/root"}, env...) {
		name, value, _ := strings.Cut(v, "=")
		os.Setenv(name, value)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir[0], out, out
	err = cmd.Run()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return ended.ExitCode(), nil
	}
	return 0, err
}

// words are those of a file, which end with a zero each.
func words(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// raw opens a terminal that passes on what it gets as it is.
func raw(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t.Oflag &^= unix.OPOST
	return f, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// machine is a virtual machine that runs one command and ends.
type machine struct {
	qemu    string   // where the package qemu-system-x86 and what it needs are unpacked
	kernel  string   // where a package linux-image is unpacked
	guest   string   // the program of test/qemu/guest
	without []string // modules that the kernel has not
	memory  int      // in MB
	files   map[string]string
	dir     string // in which the command runs, in the guest
	command []string
	env     []string
}

// Programs print on the second serial port, so that what the kernel prints is not
// among it, and the exit code comes by the third.
const (
	kernelLog = "kernel.log"
	exitCode  = "exit"
)

// run boots the machine, copies what the command prints to out, and gives its exit code.
func (m machine) run(ctx context.Context, out io.Writer) (code int, err error) {
	dir, err := os.MkdirTemp("", "weft-qemu-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	image, modules, err := m.find()
	if err != nil {
		return 0, err
	}
	if !readable(m.binary()) {
		return 0, fmt.Errorf("there is no %s: run 'test/tools/install.sh qemu' on a Debian", m.binary())
	}
	if err := m.initramfs(filepath.Join(dir, "initramfs"), modules); err != nil {
		return 0, fmt.Errorf("make the file system of the virtual machine: %w", err)
	}
	cmd := m.emulator(ctx, "-accel", "tcg", "-smp", "1", "-m", strconv.Itoa(m.memory), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", image, "-initrd", filepath.Join(dir, "initramfs"), "-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off",
		"-serial", "file:"+filepath.Join(dir, kernelLog), "-serial", "stdio", "-serial", "file:"+filepath.Join(dir, exitCode))
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &complaints
	ended := cmd.Run()
	if ctx.Err() != nil {
		ended = errors.Join(ctx.Err(), ended)
	}
	said, _ := os.ReadFile(filepath.Join(dir, exitCode)) // without one it is empty
	if code, err = strconv.Atoi(strings.TrimSpace(string(said))); err == nil {
		return code, nil
	}
	log, _ := os.ReadFile(filepath.Join(dir, kernelLog)) // it may have printed nothing
	return 0, fmt.Errorf("the virtual machine ended without an exit code: %w: %s%s", errors.Join(ended, errors.New("see the kernel's messages")), complaints.Bytes(), log)
}

func (m machine) binary() string { return filepath.Join(m.qemu, "root/usr/bin/qemu-system-x86_64") }

// emulator is a qemu that dies with this process.
func (m machine) emulator(ctx context.Context, args ...string) *exec.Cmd {
	usr := filepath.Join(m.qemu, "root", "usr")
	for _, dir := range []string{"qemu", "seabios"} {
		args = append(args, "-L", filepath.Join(usr, "share", dir))
	}
	cmd := exec.CommandContext(ctx, m.binary(), args...)
	var libs []string
	for _, dir := range []string{filepath.Join(usr, "lib"), filepath.Join(m.qemu, "root", "lib")} {
		libs = append(libs, filepath.Join(dir, "x86_64-linux-gnu"))
	}
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// find gives the kernel's image and the directory of its modules.
func (m machine) find() (image, modules string, err error) {
	for pattern, to := range map[string]*string{"root/boot/vmlinuz-*": &image, "root/usr/lib/modules/*": &modules} {
		found, err := filepath.Glob(filepath.Join(m.kernel, pattern))
		if err != nil || len(found) != 1 {
			return "", "", fmt.Errorf("there is not one %s in %s: run 'test/tools/install.sh %s' on a Debian", pattern, m.kernel, filepath.Base(m.kernel))
		}
		*to = found[0]
	}
	return image, modules, nil
}

func (m machine) initramfs(to, modules string) error {
	a := newArchive()
	a.add("/init", m.guest)
	for _, dir := range []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/var", "/root"} {
		a.write(filepath.Join(dir, ".keep"), "")
	}
	a.write("/etc/protocols", "icmp 1\ntcp 6\nudp 17\nesp 50\nipv6-icmp 58\n")
	for name, words := range map[string][]string{"command": m.command, "env": m.env, "dir": {m.dir}} {
		var text strings.Builder
		for _, w := range words {
			text.WriteString(w + "\x00")
		}
		a.write("/guest/"+name, text.String())
	}
	for to, file := range m.files {
		a.add(to, file)
	}
	err := errors.Join(a.programs(), a.modules(modules, m.without))
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(a.pack(f), f.Close())
}

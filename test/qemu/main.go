package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "qemu:", err)
		code = 1
	}
	os.Exit(code)
}

// run does what the command line says.
func run(ctx context.Context, args []string) (code int, err error) {
	flags := flag.NewFlagSet("qemu", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: qemu [options] PACKAGE [FLAGS OF ITS TESTS, such as -test.v -test.run NAME]")
		flags.PrintDefaults()
	}
	tools := flags.String("tools", ".cache/bin", "the `directory` that has qemu and the kernels")
	kernel := flags.String("kernel", "6.1", "the kernel's `version`")
	without := flags.String("without", "", "`modules`, with commas between, that the kernel has not")
	memory := flags.Int("memory", 2048, "`MB` that the machine has")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 0, errors.New("no package is named")
	}
	dir, err := os.MkdirTemp("", "weft-qemu-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	m, err := newMachine(ctx, *tools, *kernel, dir)
	if err != nil {
		return 0, err
	}
	m.memory = *memory
	if *without != "" {
		m.without = strings.Split(*without, ",")
	}
	if err := m.tests(ctx, flags.Arg(0), dir, flags.Args()[1:]); err != nil {
		return 0, err
	}
	return m.run(ctx, os.Stdout)
}

// newMachine gives a machine with that kernel, to be told what it runs. What is built for
// it is put into dir.
func newMachine(ctx context.Context, tools, kernel, dir string) (machine, error) {
	m := machine{
		qemu: filepath.Join(tools, "qemu"), kernel: filepath.Join(tools, "kernel-"+kernel), guest: filepath.Join(dir, "guest"),
		memory: 1024, files: map[string]string{}, dir: "/root",
	}
	return m, goTool(ctx, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", m.guest, "github.com/weft-net/weft/test/qemu/guest")
}

// tests has the machine run the tests of a package, with flags as their binary takes them
// (-test.run and so on).
func (m *machine) tests(ctx context.Context, pkg, dir string, flags []string) error {
	binary := filepath.Join(dir, "tests")
	if err := goTool(ctx, "test", "-c", "-vet=off", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg); err != nil {
		return err
	}
	m.files["/weft/tests"] = binary
	m.dir, m.command = "/weft", append([]string{"/weft/tests"}, flags...)
	return nil
}

// goTool runs the go command for programs that need no library.
func goTool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

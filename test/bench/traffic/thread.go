package traffic

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// anyCPU leaves the choice to the kernel.
const anyCPU = -1

// nice puts the threads ahead of what else the machine does; they are short.
const nice = -10

// ends are the CPUs of a client and of its server.
type ends struct{ client, server int }

// twoCPUs returns two CPUs that this process may use; one twice if it has no
// other.
func twoCPUs() (one, two int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, 0, fmt.Errorf("ask which CPUs there are: %w", err)
	}
	one, two = -1, -1
	for cpu := 0; two < 0 && cpu < len(set)*64; cpu++ {
		switch {
		case !set.IsSet(cpu):
		case one < 0:
			one = cpu
		default:
			two = cpu
		}
	}
	if two < 0 {
		two = one
	}
	return one, two, nil
}

// thread runs work on a thread of its own, which is in the network namespace, if
// there is one, and on the CPU, and ends with it.
func thread(netns string, cpu int, work func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: nobody else gets this thread
		if err := enter(netns); err != nil {
			done <- err
			return
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil { // of this thread
			done <- fmt.Errorf("put a thread ahead of others: %w", err)
			return
		}
		if cpu != anyCPU {
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				done <- fmt.Errorf("move a thread to CPU %d: %w", cpu, err)
				return
			}
		}
		done <- work()
	}()
	return done
}

func enter(netns string) error {
	if netns == "" {
		return nil
	}
	fd, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the namespace %s: %w", netns, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace %s: %w", netns, err)
	}
	return nil
}

// Package lab builds small clusters of real Docker hosts on one machine.
//
// A lab is a switch, one or three Consul servers and some Docker hosts. Each
// of them is a member: a network, a mount and a UTS namespace kept alive by one
// sleeping process, the holder. A host has its own hostname, /run, /etc and
// data directories, a real dockerd and a real weft; a Consul server is the
// real binary with its data on disk. All share one underlay:
//
//	198.51.100.1        the switch (also the hosts' default route; it leads nowhere)
//	198.51.100.2 .. .4  consul1 .. consul3
//	198.51.100.11 ..    h1 ..
//
// and 2001:db8:51::N/64 with the same N. Nothing of a lab exists in the
// machine's own network or mount namespace, so several labs stand side by side
// with the same addresses, and a lab whose processes are gone is gone.
//
// Typical use:
//
//	l, err := lab.Up(ctx, lab.Config{Name: "demo", Progress: os.Stderr})
//	...
//	defer l.Down(ctx)
//	out, err := l.Host("h1").Docker(ctx, "run", "--rm", "busybox", "ip", "addr")
//
// Everything a lab owns is found again from its state directory alone: every
// process carries the directory's path in its environment, containers live in
// a cgroup named after it, and files lie below it. Remove therefore also clears
// a lab which was half built or whose processes were killed.
package lab

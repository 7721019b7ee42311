package dataplane

// Abandon closes the netlink socket of the interception as the kernel does it
// for a process that dies.
func (r *Resolver) Abandon() {
	r.tap.close()
	r.tap = nil
}

// Command qemu boots another kernel in a virtual machine, without KVM, and there runs as
// root the tests of a package, or any program. It prints what that says, and ends with
// its exit code.
package main

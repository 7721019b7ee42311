package fastpath

// The directory of the kernel's headers for this architecture is in BPF2GO_CFLAGS,
// see `make bpf`.
//go:generate go tool bpf2go -go-package fastpath -target bpfel -type host -type port_key -type port -type mac_key -type place -type member_key -type addr -type home -type lease programs bpf/fastpath.c -- -Wall -Werror -mcpu=v3

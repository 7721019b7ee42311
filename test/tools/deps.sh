#!/usr/bin/env bash
# Installs the Debian packages that weft's lab and tests use, those that are
# missing: what counts is the program, so that a Docker from elsewhere is left
# alone.
#
#   deps.sh [--check]
#
# --check installs nothing and fails with a sentence instead.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

programs=() packages=()
# want PROGRAM PACKAGE... notes a missing program and what brings it.
want() { programs+=("$1") packages+=("${@:2}"); }
have() { command -v "$1" >/dev/null; }

have dockerd || want dockerd docker.io
have docker || want docker docker-cli
have containerd || want containerd containerd
have runc || want runc runc
have ip || want ip iproute2
have nft || want nft nftables
have iptables || want iptables iptables
have ping || want ping iputils-ping
have nsenter || want nsenter util-linux
have mount || want mount mount
have mkfs.ext4 || want mkfs.ext4 e2fsprogs # test/recovery: a file system that turns read-only
# Static: it is all that the lab's container image has.
{ have busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; } || want "a static busybox" busybox-static
# The race detector needs a C compiler.
{ have gcc && echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1; } || want gcc gcc libc6-dev
have musl-gcc || want musl-gcc musl-tools # test/names: a container with musl's resolver
# make lint compiles the fast path's programs, and compares.
{ have clang && [ -e /usr/include/bpf/bpf_helpers.h ]; } || want clang clang llvm libbpf-dev
# Of test/install: weft as a package under systemd, and Compose.
have dpkg-deb || want dpkg-deb dpkg
{ have systemd-analyze && [ -x /lib/systemd/systemd ]; } || want systemd systemd
have docker-compose || want docker-compose docker-compose
have debootstrap || want debootstrap debootstrap # make test-docker
have shellcheck || want shellcheck shellcheck # make lint
# dockerd starts no container where the kernel has AppArmor and this is missing.
if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null || true)" = Y ]; then
	have apparmor_parser || want apparmor_parser apparmor
fi

[ ${#programs[@]} -eq 0 ] && exit 0
list=$(printf ', %s' "${programs[@]}")
list=${list:2}

if [ "${1-}" = --check ]; then
	echo "missing on this machine: $list; run 'sudo make deps', or install them your own way" >&2
	exit 1
fi
if ! have apt-get; then
	echo "missing on this machine: $list; there is no apt-get to install them with, so do it your own way" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "missing on this machine: $list; installing needs root: run 'sudo make deps'" >&2
	exit 1
fi

echo "    missing: $list"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# Until Debian 12 the docker command is part of docker.io.
wanted=()
for p in "${packages[@]}"; do
	if [ "$p" = docker-cli ] && ! apt-cache show docker-cli >/dev/null 2>&1; then
		p=docker.io
	fi
	wanted+=("$p")
done
apt-get install -q -y --no-install-recommends "${wanted[@]}"

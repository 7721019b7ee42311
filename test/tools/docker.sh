#!/usr/bin/env bash
# Makes a Debian that has a given version of Docker, for hosts of the lab:
#
#   docker.sh VERSION SUITE DIR
#
# DIR/root is the Debian SUITE, from the same mirror that this machine's apt
# uses. It fails if Docker is not VERSION there: a suite that is not released
# moves on.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
version=$1 suite=$2 root=$3/root

say() { echo "docker.sh: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "debootstrap needs root: run this under sudo"; exit 1; }
command -v debootstrap >/dev/null || { say "debootstrap is missing: install the Debian package of that name"; exit 1; }

# shellcheck disable=SC2016 # the expression is apt's
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p)
[ -n "$mirror" ] || { say "this machine's apt knows no Debian mirror"; exit 1; }

# All later suites are made in the way of sid, also those that this debootstrap
# does not know yet.
script=/usr/share/debootstrap/scripts/$suite
[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid

packages=docker.io,containerd,runc,iptables,nftables,iproute2,iputils-ping,procps,kmod,apparmor,ca-certificates,busybox-static
# Until Debian 12 the docker command is part of docker.io, and Compose is 1.29.
[ "$suite" = bookworm ] || packages+=,docker-cli,docker-compose

mkdir -p "$root"
# In namespaces of its own, so that nothing it mounts or starts outlives it.
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child \
	debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" "$script"
rm -f "$root"/var/cache/apt/archives/*.deb
mkdir -p "$root/usr/lib/modules" # where the lab shows the machine's

has=$(chroot "$root" /usr/sbin/dockerd --version)
case $has in
"Docker version $version."*) ;;
*) say "Debian $suite has another Docker by now: $has"; exit 1 ;;
esac

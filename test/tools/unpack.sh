#!/usr/bin/env bash
# Unpacks what test/qemu needs of Debian into DIR/root, and installs nothing:
#
#   unpack.sh qemu DIR           qemu, with what this machine lacks for it
#   unpack.sh kernel SUITE DIR   the newest kernel of the Debian SUITE, its modules not compressed
#
# Both are for amd64, from the same mirror that this machine's apt uses.
set -euo pipefail
export LC_ALL=C
say() { echo "unpack.sh: $*" >&2; }
command -v apt-get >/dev/null || { say "there is no apt-get: this takes a Debian"; exit 1; }

# unpack DIR unpacks all packages of this directory.
unpack() {
	mkdir -p "$1/root"
	for deb in *.deb; do
		dpkg -x "$deb" "$1/root"
	done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
# As root, apt would else look for a user that may write here.
apt=(-q -o APT::Sandbox::User=root -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Languages=none)

case $1 in
qemu)
	dir=$2
	apt-get "${apt[@]}" update
	mapfile -t packages < <(apt-get "${apt[@]}" install --simulate --reinstall --no-install-recommends \
		qemu-system-x86 qemu-system-common qemu-system-data seabios | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
	apt-get "${apt[@]}" download "${packages[@]}"
	unpack "$dir"
	[ -x "$dir/root/usr/bin/qemu-system-x86_64" ] || { say "Debian's package has no qemu-system-x86_64"; exit 1; }
	;;
kernel)
	suite=$2 dir=$3
	# shellcheck disable=SC2016 # the expression is apt's
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p)
	[ -n "$mirror" ] || { say "this machine's apt knows no Debian mirror"; exit 1; }
	echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >sources.list
	apt+=(-o APT::Architecture=amd64 -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Status=/dev/null)
	apt-get "${apt[@]}" update
	package=$(apt-cache "${apt[@]}" depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p')
	[ -n "$package" ] || { say "Debian $suite has no linux-image-cloud-amd64"; exit 1; }
	apt-get "${apt[@]}" download "$package"
	unpack "$dir"
	cd "$dir/root"
	[ -d usr/lib/modules ] || { mkdir -p usr/lib && mv lib/modules usr/lib/; } # until Debian 12
	# What no test of networks asks for is by far the most.
	(cd usr/lib/modules/*/kernel && find . -name '*.ko*' ! -path './net/*' ! -path './crypto/*' ! -path './lib/*' ! -path './arch/*' \
		! -path './fs/overlayfs/*' ! -path './drivers/net/*' -delete)
	find usr/lib/modules -name '*.ko.xz' -exec xz --decompress {} +
	;;
*) say "what is to be unpacked, qemu or a kernel?"; exit 2 ;;
esac

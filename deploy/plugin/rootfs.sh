#!/usr/bin/env bash
# Makes the directory that `docker plugin create NAME DIR` takes:
#
#   rootfs.sh WEFT DIR NAME
#
# of the static binary WEFT, for a plugin to be called NAME, as in weft:latest.
set -euo pipefail

weft=$1 dir=$2 name=$3
[[ $name == *:* ]] || name=$name:latest
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

rm -rf "$dir"
rootfs=$dir/rootfs
# /run is the plugin's own, for Docker puts the socket there. The host's is
# mounted at /var/run.
mkdir -p "$rootfs"/{dev,proc,sys,tmp,etc,host/etc/ssl/certs,host/etc/weft,run/docker/plugins,var/run,var/lib/weft}
# Where a Docker with --exec-root=/run/docker says that its sandboxes are.
ln -s /var/run/docker/netns "$rootfs/run/docker/netns"
install -m 0755 "$weft" "$rootfs/weft"
sed "s|\"weft:latest\"|\"$name\"|" "$here/config.json" >"$dir/config.json"
[ -z "${SOURCE_DATE_EPOCH-}" ] || find "$dir" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

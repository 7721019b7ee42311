#!/usr/bin/env bash
# Replaces a managed plugin by another build of it, from a directory as
# rootfs.sh makes it:
#
#   upgrade.sh NAME DIR
#
# `docker plugin upgrade` takes plugins from registries only, and removing one
# removes its state. So this carries state and settings over. Running containers
# keep their traffic; starting and stopping them waits meanwhile, a second or two.
set -euo pipefail

name=$1 dir=$2
[[ $name == *:* ]] || name=$name:latest
[ "$(id -u)" = 0 ] || { echo "upgrade.sh: the plugin's state is root's: run this as root" >&2; exit 1; }
[ -f "$dir/config.json" ] || { echo "upgrade.sh: $dir has no config.json: make it with 'make rootfs'" >&2; exit 1; }
field() { docker plugin inspect --format "$1" "$name"; }

# What was set, without what is not settable: that comes from the new config.json.
settable=$(field '{{range .Config.Env}}{{if .Settable}}{{.Name}}{{"\n"}}{{end}}{{end}}')
settings=()
while IFS= read -r setting; do
	grep -qxF -- "${setting%%=*}" <<<"$settable" && settings+=("$setting")
done < <(field '{{range .Settings.Env}}{{println .}}{{end}}')
# The same of the directories that it has from the host. What is set stands in the
# config, whose default it replaces; Settings shows it only until dockerd restarts.
while IFS= read -r setting; do
	settings+=("$setting")
done < <(field '{{range .Config.Mounts}}{{if .Settable}}{{.Name}}.source={{.Source}}{{"\n"}}{{end}}{{end}}' | grep .)
plugins=$(docker info --format '{{.DockerRootDir}}')/plugins
old=$plugins/$(field '{{.ID}}')
kept=$(mktemp -d "$plugins/.weft-upgrade.XXXXXX")

[ "$(field '{{.Enabled}}')" = false ] || docker plugin disable --force "$name" >/dev/null
cp -a "$old/propagated-mount/." "$kept"
trap 'echo "upgrade.sh: this failed half-way; the plugin'"'"'s state is in $kept" >&2' ERR
docker plugin rm --force "$name" >/dev/null
docker plugin create "$name" "$dir" >/dev/null
new=$plugins/$(field '{{.ID}}')
mkdir -p "$new/propagated-mount"
cp -a "$kept/." "$new/propagated-mount"
[ ${#settings[@]} = 0 ] || docker plugin set "$name" "${settings[@]}"
docker plugin enable "$name"
rm -rf "$kept"

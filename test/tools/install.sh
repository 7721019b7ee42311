#!/usr/bin/env bash
# Builds the programs that weft's tests and lab need beside Debian's packages,
# from source, through the Go module proxy:
#
#   install.sh [--check] consul | golangci-lint | weft-old | qemu | kernel-6.1 | kernel-6.12 | docker-20.10 | docker-26.1 | docker-28.5 | docker-29 ...
#
# weft-old is the weft that test/upgrade begins with, an early one of this repository.
# qemu and kernel-VERSION are directories with Debian's, see unpack.sh.
# docker-VERSION is a directory with a Debian of that Docker's age, see docker.sh.
# Each is built once per version into a folder outside the checkout,
# ${WEFT_CACHE:-${XDG_CACHE_HOME:-~/.cache}/weft}/bin/NAME-VERSION, and linked
# as .cache/bin/NAME. --check only says whether they are there.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
links=$root/.cache/bin
cache=${WEFT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weft}/bin

# Consul's version is pinned, with its whole module graph, in go.mod beside
# this file: its own go.mod has replace directives, which `go install` refuses.
# golangci-lint is not part of any go.mod of ours, for its graph is larger
# than weft's; it brings gofumpt, goimports and staticcheck with it.
consul_version=$(sed -n 's|.*github.com/hashicorp/consul v\([^ ]*\).*|\1|p' "$here/go.mod")
golangci_version=2.15.0

# A commit whose weft has no format, no keys and no machines in its records. Its
# source is in test/upgrade/testdata, without tests: a checkout may have no history.
old_commit=91e3e6582b4a71cbad1a5aebac975e07d47552c7

# Docker 29 is in no Debian yet: its daemon is built from source.
docker29_version=$(sed -n 's|.*github.com/moby/moby/v2 v\([^ ]*\).*|\1|p' "$here/docker29/go.mod")

version_of() {
	case $1 in
	consul) echo "$consul_version" ;;
	golangci-lint) echo "$golangci_version" ;;
	weft-old) echo "${old_commit:0:12}" ;;
	qemu) sed -n 's/^VERSION_CODENAME=//p' /etc/os-release ;;
	kernel-6.1) echo bookworm ;;
	kernel-6.12) echo trixie ;;
	docker-20.10) echo bookworm ;;
	docker-26.1) echo trixie ;;
	docker-28.5) echo forky ;;
	docker-29) echo "$docker29_version" ;;
	*) echo "install.sh: no tool is called $1; there are consul, golangci-lint, weft-old, qemu, kernel-6.1, kernel-6.12, docker-20.10, docker-26.1, docker-28.5 and docker-29" >&2; exit 2 ;;
	esac
}

# compile NAME DIR turns into the build of NAME into DIR/NAME, which prints each
# package as it goes.
compile() {
	local flags=(-v -trimpath -buildvcs=false "-ldflags=-s -w")
	export CGO_ENABLED=0 GOFLAGS='' GOBIN=$2
	cd "$here"
	case $1 in
	consul) exec nice -n 10 go build "${flags[@]}" -o "$2/consul" github.com/hashicorp/consul ;;
	golangci-lint)
		exec nice -n 10 go install "${flags[@]}" \
			"github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$golangci_version"
		;;
	weft-old)
		mkdir "$2/source"
		tar -xzf "$root/test/upgrade/testdata/weft-${old_commit:0:7}.tar.gz" -C "$2/source"
		cd "$2/source"
		exec nice -n 10 go build "${flags[@]}" -ldflags "-s -w -X main.version=old -X main.commit=${old_commit:0:12}" -o "$2/weft-old" ./cmd/weft
		;;
	docker-29)
		# The programs around it are those of the newest Debian here.
		mkdir -p "$2/docker-29/bin"
		ln -s "$(readlink -f "$links/docker-28.5")/root" "$2/docker-29/root"
		cd docker29
		exec nice -n 10 go build "${flags[@]}" -ldflags "-s -w -X github.com/moby/moby/v2/dockerversion.Version=29-moby-$docker29_version" -o "$2/docker-29/bin/" \
			github.com/moby/moby/v2/cmd/dockerd github.com/moby/moby/v2/cmd/docker-proxy
		;;
	qemu) exec nice -n 10 "$here/unpack.sh" qemu "$2/$1" ;;
	kernel-*) exec nice -n 10 "$here/unpack.sh" kernel "$(version_of "$1")" "$2/$1" ;;
	docker-*) exec nice -n 10 "$here/docker.sh" "${1#docker-}" "$(version_of "$1")" "$2/$1" ;;
	esac
}

# clock SECONDS as 3m07s.
clock() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }

# watch PID LOG TEXT prints a line every 20 s until PID ends, and returns its status.
watch() {
	local start=$SECONDS tick=0
	while kill -0 "$1" 2>/dev/null; do
		sleep 1
		tick=$((tick + 1))
		((tick % 20)) || echo "    $3: $(clock $((SECONDS - start))), $(grep -vc '^go: ' "$2" || true) lines of its log, mostly a package each"
	done
	wait "$1"
}

build() {
	local name=$1 version=$2 start=$SECONDS dir
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock -n 9 || { echo "    waiting for another build of weft's tools to end"; flock 9; }
	[ -x "$cache/$name-$version" ] && return # somebody else has built it meanwhile
	dir=$(mktemp -d "$cache/.build.XXXXXX")
	trap 'rm -rf "$dir"' EXIT
	echo "    building $name $version; this takes some minutes, once per machine"
	compile "$name" "$dir" >"$dir/log" 2>&1 9>&- &
	local pid=$!
	trap 'kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
	if ! watch "$pid" "$dir/log" "$name"; then
		tail -n 20 "$dir/log" >&2
		echo "install.sh: building $name $version failed, see above; it needs Go (see go.mod) and the Go module proxy, and for docker-*, qemu and kernel-* a Debian mirror" >&2
		exit 1
	fi
	mv "$dir/$name" "$cache/$name-$version"
	rm -rf "$dir"
	trap - EXIT
	exec 9>&-
	echo "    built $name $version in $(clock $((SECONDS - start)))"
}

check=false
if [ "${1-}" = --check ]; then
	check=true
	shift
fi
# Docker 29's daemon stands in the same Debian as 28.5's.
names=()
for name in "$@"; do
	[ "$name" != docker-29 ] || names+=(docker-28.5)
	names+=("$name")
done
for name in "${names[@]}"; do
	version=$(version_of "$name")
	target=$cache/$name-$version
	if [ ! -x "$target" ]; then
		if $check; then
			echo "$name $version is not there: run 'make tools' first" >&2
			exit 1
		fi
		command -v go >/dev/null || { echo "install.sh: go is not in PATH; building $name needs it: https://go.dev/dl" >&2; exit 1; }
		build "$name" "$version"
	fi
	mkdir -p "$links"
	ln -sfn "$target" "$links/$name"
done

# shellcheck shell=sh
# Boots systemd on a host of the lab, with nothing but the units of weft and
# Docker and what they refer to. $1: a folder, not in /var/lib, for what is
# written to /usr and /var/lib. $2: a name for the cgroup. $3: how dockerd is started.
set -eu

# The machine's files stay visible, changes stay here.
for dir in usr var/lib; do
	mkdir -p "$1/$dir" "$1/$dir.work"
	mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$1/$dir,workdir=$1/$dir.work" "/$dir"
done
mkdir "$1/none"
for dir in system-generators system-environment-generators user-generators; do
	[ ! -d /usr/lib/systemd/$dir ] || mount --bind "$1/none" /usr/lib/systemd/$dir
done
mount -t tmpfs tmpfs /usr/lib/systemd/system
rm -rf /etc/systemd/system
mkdir /etc/systemd/system
cd /usr/lib/systemd/system
for target in sysinit basic multi-user default network-online shutdown umount final local-fs local-fs-pre swap; do
	printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' $target >$target.target
done
cat >docker.service <<UNIT
[Unit]
Description=Docker
[Service]
Type=notify
NotifyAccess=all
Environment=PATH=$PATH
$(env | sed -n 's/^\(WEFTLAB=.*\)/Environment=\1/p')
ExecStart=$3
KillMode=process
Delegate=yes
[Install]
WantedBy=multi-user.target
UNIT
mkdir service.d
printf '[Service]\nStandardOutput=append:/run/%%p.log\nStandardError=append:/run/%%p.log\n' >service.d/log.conf

# PID 1 takes the cgroup it finds itself in for the root of all.
for root in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
	[ -e $root/cgroup.procs ] || continue
	mkdir -p "$root/$2"
	echo $$ >"$root/$2/cgroup.procs"
done
export container=weft-lab
exec unshare --pid --fork --kill-child --mount --propagation unchanged sh -c '
	mount --make-rslave /proc
	mount -t proc proc /proc
	exec /lib/systemd/systemd --system --unit=default.target --log-target=console --show-status=no'

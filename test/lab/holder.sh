# Furnishes the mount namespace of one member and then keeps it.
# $1: its name. $2: its state directory; with an etc directory in it the member
# is a host and gets its own /etc, /run and /sys, otherwise only a hostname.
# $3: a Debian whose /usr and /etc a host gets in place of the machine's, or empty.
set -eu
hostname "$1"

# What the machine mounts or unmounts later is seen here, never the reverse.
mount --make-rslave /

if [ -d "$2/etc" ]; then
	if [ "$3" ]; then
		# dockerd loads modules, and they are the machine's.
		if [ -d /usr/lib/modules ] && [ -d "$3/usr/lib/modules" ]; then
			mount --bind /usr/lib/modules "$3/usr/lib/modules"
		fi
		mount --rbind "$3/usr" /usr
	fi

	# The lower /etc stays visible, changes stay here. This is also the
	# test that the state directory can carry overlay2.
	mkdir -p "$2/etc.work"
	if ! mount -t overlay overlay -o "lowerdir=$3/etc,upperdir=$2/etc,workdir=$2/etc.work" /etc; then
		echo "$2 cannot carry overlayfs; choose a directory on ext4 or xfs (--dir)" >&2
		exit 1
	fi
	rm -rf /etc/docker
	mkdir /etc/docker

	# /sys/class/net shows the network namespace sysfs was mounted in. The
	# cgroup mounts below the old one have to come along.
	mkdir -p "$2/cgroup"
	mount --rbind /sys/fs/cgroup "$2/cgroup"
	mount -t sysfs sysfs /sys
	mount --move "$2/cgroup" /sys/fs/cgroup
	rmdir "$2/cgroup"

	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p /run/docker/plugins /run/lock
	[ -L /var/run ] || mount --bind /run /var/run

	echo 1 >/proc/sys/net/ipv4/ip_forward
fi

# As on a machine booted by systemd: managed plugins and shared volumes need it.
mount --make-rshared /

echo ready
exec sleep infinity >/dev/null 2>&1

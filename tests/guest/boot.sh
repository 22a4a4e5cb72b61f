#!/bin/sh
# A real systemd as PID 1 of namespaces of its own, on ROOT, which may be written to.
#
#     boot.sh ROOT NAME ID
#
# Its cgroups are its own in every hierarchy of this machine, so that limits bite as they do in a guest. Its network
# is the caller's: call it in a namespace made for the guest. /sys and /proc/sys are read-only, as the kernel is not
# the guest's; what would let it reach the machine below is dropped.
set -eu
root=$1 name=$2 id=$3

cgroups() {
    awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) ~ /^cgroup2?$/) print $(i + 1), $5, $(i + 3) }' /proc/self/mountinfo
}

if [ "${4:-}" != inside ]; then
    cgroups | while read -r _ place _; do
        mkdir -p "$place/$id"
        for file in cpuset.cpus cpuset.mems; do
            [ ! -w "$place/$id/$file" ] || [ -e "$place/cgroup.controllers" ] || cat "$place/$file" >"$place/$id/$file"
        done
        echo $$ >"$place/$id/cgroup.procs"
    done
    exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child=SIGKILL --propagation private \
        sh "$0" "$root" "$name" "$id" inside
fi

cgroups >"$root/tmp/.cgroups"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs shm "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
while read -r type place options; do
    [ "$place" = /sys/fs/cgroup ] || mkdir -p "$root$place"
    case $type in
    cgroup) mount -t cgroup -o "$(echo "$options" | sed 's/^r[wo],//')" cgroup "$root$place" ;;
    cgroup2) mount -t cgroup2 cgroup2 "$root$place" ;;
    esac
done <"$root/tmp/.cgroups"
rm "$root/tmp/.cgroups"

# The kernel's own settings are the machine's; each boot of the guest has an id of its own, as with any machine.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
cat /proc/sys/kernel/random/uuid >"$root/run/boot-id"
mount --bind "$root/run/boot-id" "$root/proc/sys/kernel/random/boot_id"
hostname "$name"
cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
mount --make-rshared / # as systemd expects of a container, so that it can hand credentials to units
IFS='
'
# shellcheck disable=SC2046  # a word for each line is wanted
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin $(cat /.environment 2>/dev/null || true) \
    setpriv --bounding-set -sys_module,-sys_rawio,-sys_time,-syslog,-wake_alarm,-block_suspend,-mac_admin,-net_admin \
    /lib/systemd/systemd systemd.show_status=false

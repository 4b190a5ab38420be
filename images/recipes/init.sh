#!/bin/busybox sh
# The first process of a Linux guest.  Words of the kernel command line that it knows:
#   cloister.exit          power off after the first line
#   cloister.modules=NAME  load a group of modules, such as ata, for disks that are not virtio's
#   cloister.run=BASE64    run this script, say how it ended, and power off
echo 'cloister: init started' # before anything else: the speed of a boot is measured to this line

mount() { busybox mount "$@"; }
end() {
    busybox sync
    busybox poweroff -f
}

PATH=/bin:/sbin:/usr/bin:/usr/sbin
HOME=/root TERM=${TERM:-linux}
export PATH HOME TERM
mount -t proc proc /proc
read -r words </proc/cmdline
script=
orders=order
for word in $words; do
    case $word in
        cloister.exit) end ;;
        cloister.modules=*) orders="$orders ${word#cloister.modules=}.order" ;;
        cloister.run=*) script=${word#cloister.run=} ;;
    esac
done

mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for order in $orders; do
    while read -r module; do
        busybox insmod "/lib/modules/$module.ko"
    done <"/lib/modules/$order"
done
busybox --install -s
cd /root

if [ -n "$script" ]; then
    echo "$script" | busybox base64 -d >/run/script
    sh /run/script
    echo "cloister: script ended with status $?"
else
    busybox setsid cttyhack sh
fi
end

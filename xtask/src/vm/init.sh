#!/bin/sh
# The first process of the virtual machine: puts the host's files, read-only, under a layer in memory, and runs the job there.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci 9pnet_virtio 9p overlay; do modprobe "$module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host
mount -t tmpfs -o size=75% layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root
# What the kernel loads by itself it loads with this file system's modprobe.
mount -o bind "/host$(cat /modules)" /lib/modules
modprobe virtio_net
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mount -t bpf bpf /root/sys/fs/bpf
mount -t tmpfs tmp /root/tmp
mount -t tmpfs run /root/run
cp /job /root/tmp/job
ip link set lo up
echo "weir-vm: ready $(uname -r)"
chroot /root /bin/sh /tmp/job
poweroff -f

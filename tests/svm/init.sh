#!/bin/busybox sh
# First program of the machine, in the initramfs: loads the modules, puts the host's files under a writable layer, and
# hands over to stage2.sh with that as its root. busybox's shell finds its own commands through /proc/self/exe,
# so /proc comes first.

/bin/busybox mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t sysfs sysfs /sys

fail() {
  echo "barecell-svm: $*" >/dev/console
  poweroff -f
}

for module in /modules/*.ko; do
  insmod "$module" || fail "a kernel module could not be loaded: $(basename "$module")"
done

# cache=loose: the host's files are taken not to change while the machine runs, so each is read and looked up once.
# msize is the largest that the kernel's virtio transport takes; each request costs a round trip through the emulator.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 hostroot /lower ||
  fail "the host's files could not be mounted"
mount -t tmpfs -o mode=755,size=75% tmpfs /upper || fail "no memory for the writable layer"
mkdir /upper/data /upper/work
# The whole tree becomes writable, so programs may write where they are used to (caches, build folders, /tmp);
# it all goes to memory and is gone when the machine stops.
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work,xino=on overlay /root ||
  fail "the writable layer could not be mounted"

cd /root || fail "no root"
mkdir -p dev proc sys run
# Fresh, because the host's sockets and pid files in /run mean nothing here; it also carries our own files across.
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/barecell-svm
cp /bin/busybox /stage2.sh /job.sh /end-mark run/barecell-svm/
mount --move /dev dev
mount --move /sys sys
# From here on /proc/self/exe is gone, and busybox must be called by name.
mount --move /proc proc

# switch_root, not chroot: inside a chroot the kernel refuses user namespaces, which programs under test may want.
exec /bin/busybox switch_root /root /run/barecell-svm/busybox sh /run/barecell-svm/stage2.sh

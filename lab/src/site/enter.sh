# Gives a daemon a machine of its own and starts it there. Runs as the first process of new namespaces
# of mounts, processes and the host's name; what it mounts and writes goes with them.
#
# What is the daemon's own in the machine's files: the folder FOLDER, as /lab; the unpacked packages
# PACKAGES; and /lab/files, laid over everything. The rest is the machine's, and every change of it
# stays in memory.
set -e
mount -t tmpfs tmpfs "$FOLDER/root"
mkdir "$FOLDER/root/upper" "$FOLDER/root/work" "$FOLDER/root/all"
cd "$FOLDER/root"
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work all
cd all
for package in $PACKAGES; do
	tar -C "$package" -cf - . | tar --keep-directory-symlink -xf -
done
mkdir -p lab proc sys dev run tmp
chmod 1777 "$FOLDER"
mount --bind "$FOLDER" lab
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm dev/net run/lock
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 net/tun:10:200; do
	minor=${node##*:}
	rest=${node%:*}
	mknod -m 666 "dev/${rest%:*}" c "${rest#*:}" "$minor"
done
hostname "$NAME.lab.test"
# Many look up who connects, and nobody answers for them here.
printf '%s\n' "127.0.0.1 localhost" "$SCANNER scanner.lab.test scanner" "$ADDRESS $NAME.lab.test $NAME" >etc/hosts
: >etc/resolv.conf
echo "$NAME.lab.test" >etc/mailname
chmod 1777 run/lock
[ ! -d lab/files ] || cp -R lab/files/. .
# Whoever writes to the system's log writes to a file of the folder.
chroot . busybox syslogd -n -O /lab/syslog &
# The first process has to stay, for the others end with it: it waits, and buries those whose
# parents ended before.
chroot . /bin/sh -e /lab/start

#!/bin/sh
# Turns the fresh Debian root in $1 into a node that boots fast under emulation. Called by mmdebstrap, see image.py.
set -eu
root=$1

# The kernel is started by qemu, so the disk is the whole /dev/vda and nothing has to be checked or waited for.
echo '/dev/vda / ext4 errors=remount-ro 0 0' >"$root/etc/fstab"
echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf" # qemu's user network always looks like this
cat >"$root/etc/systemd/network/qemu.network" <<END
[Match]
Type=ether
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
END
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
: >"$root/etc/machine-id" # every machine makes its own
rm -f "$root/etc/hostname" # comes on the kernel command line

# One host key, known before the first boot: the sessions check it.
rm -f "$root"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C node -f "$root/etc/ssh/ssh_host_ed25519_key"
cat >"$root/etc/ssh/sshd_config.d/vm.conf" <<END
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
UsePAM no
END

# A mirror behind a private certificate authority stays reachable for the node's apt.
if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates
fi
chroot "$root" apt-cache gencaches # seconds here, most of a minute in the emulated machine

systemctl --root="$root" enable systemd-networkd.service
systemctl --root="$root" disable tuned.service # there to be started by a test
systemctl --root="$root" mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty.target systemd-networkd-wait-online.service systemd-network-generator.service

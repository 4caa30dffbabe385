#!/usr/bin/env bash
# tests/sweeps/queue/test_shared_folder.py on a real NFS 4.2, where this machine's kernel has none:
#
#     bash tests/kill_harness/nfs.sh [python] [folder for the packages]
#
# Debian's user-mode-linux is a kernel that runs as a process. It sees this machine's files, serves a
# folder in its memory by its own NFS server, and mounts that twice, from two networks with names of
# their own, as two hosts do. Nothing is installed: the packages are unpacked into a folder. As root.
set -euo pipefail
HERE="$(cd "$(dirname "$0")/../.." && pwd)"
PACKAGES="user-mode-linux nfs-kernel-server nfs-common libnfsidmap1 libtirpc3 libwrap0
    libevent-core-2.1-7 keyutils"

outside() {
    local python="${1:-$HERE/.venv/bin/python}" place="${2:-$(mktemp -d)}"
    mkdir -p "$place/made" && cd "$place"
    ls ./*.deb >/dev/null 2>&1 || apt-get download $PACKAGES
    for package in ./*.deb; do dpkg -x "$package" unpacked; done
    printf '%s\n' "#!/bin/bash" "exec bash '$HERE/tests/kill_harness/nfs.sh' inside '$python' '$place'" >init
    chmod +x init
    TMPDIR="$place/made" timeout "${LIMIT:-900}" unpacked/usr/bin/linux.uml mem=3G root=/dev/root \
        rootfstype=hostfs rootflags=/ rw init="$place/init" con=null con0=fd:0,fd:1 \
        uml_dir="$place/made" </dev/null | tee console
    grep -q "nfs: all tests passed" console
}

inside() {
    local python="$1" place="$2" libraries=/usr/lib/x86_64-linux-gnu
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin
    mount -t proc proc /proc
    for folder in /run /var/lib /mnt "$place/made"; do mount -t tmpfs none "$folder"; done
    mkdir -p /dev/shm /var/lib/nfs/v4recovery /run/sbin /mnt/served /mnt/a /mnt/b
    touch /var/lib/nfs/etab /var/lib/nfs/rmtab
    for folder in /dev/shm /mnt/served; do mount -t tmpfs none "$folder"; done
    load "$python" "$place"
    ip link set lo up
    ip netns add other # a network of its own: NFS takes whoever mounts from there for another host
    ip link add link0 type veth peer name link1 netns other
    ip address add 10.231.78.1/30 dev link0 && ip link set link0 up
    ip -n other address add 10.231.78.2/30 dev link1 && ip -n other link set link1 up
    mount -t nfsd nfsd /proc/fs/nfsd
    export LD_LIBRARY_PATH="$place/unpacked$libraries:$place/unpacked/lib/x86_64-linux-gnu"
    local programs="$place/unpacked/usr/sbin"
    "$programs/exportfs" -o rw,no_root_squash,fsid=0,insecure,sync,no_subtree_check \
        '*:/mnt/served' 2>/dev/null || true # that there is no /etc/exports
    "$programs/rpc.mountd" -N 3 -p 20048
    echo 10 >/proc/fs/nfsd/nfsv4leasetime
    echo 10 >/proc/fs/nfsd/nfsv4gracetime
    "$programs/rpc.nfsd" -N 3 -V 4.2 4
    unset LD_LIBRARY_PATH
    sleep 12 # the server grants no lock before its time of grace is over
    mount -i -t nfs4 -o vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1 127.0.0.1:/ /mnt/a
    nsenter --net=/run/netns/other unshare --uts sh -c "hostname other && mount -i -t nfs4 \
        -o vers=4.2,addr=10.231.78.1,clientaddr=10.231.78.2 10.231.78.1:/ /mnt/b"
    grep " nfs4 " /proc/mounts
    cd "$HERE"
    TMPDIR="$place/made" PYTHONPATH="$HERE" PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 \
        DIRECT_SHARED_FOLDERS=/mnt/a:/mnt/b PATH="$(dirname "$python"):$PATH" \
        "$python" -m pytest -q -p no:cacheprovider tests/sweeps/queue/test_shared_folder.py &&
        echo "nfs: all tests passed"
    "$python" -c "import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)" # power off
}

load() { # kernel modules, in the order of their needs; finit_module is system call 313
    local kernel=("$2"/unpacked/usr/lib/uml/modules/*/kernel)
    "$1" - "${kernel[0]}" <<'PYTHON'
import ctypes, os, sys
for name in """net/sunrpc/sunrpc fs/nfs_common/grace fs/lockd/lockd fs/nfs_common/nfs_acl
               lib/oid_registry net/sunrpc/auth_gss/auth_rpcgss fs/netfs/netfs fs/fscache/fscache
               fs/nfs/nfs net/dns_resolver/dns_resolver fs/nfs/nfsv4 fs/nfsd/nfsd
               drivers/net/veth""".split():
    file = os.open(f"{sys.argv[1]}/{name}.ko", os.O_RDONLY)
    assert ctypes.CDLL(None).syscall(313, file, b"", 0) == 0, name
PYTHON
}

if [ "${1:-}" = inside ]; then inside "$2" "$3"; else outside "$@"; fi

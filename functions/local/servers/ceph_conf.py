"""The configuration of the smallest Ceph that serves S3: one monitor, one storage daemon, one RadosGW, no manager."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from functions.local.servers.ports import LOOPBACK

Store = Literal["bluestore", "memstore"]

FSID = "00000000-0000-4000-8000-000000000001"
OSD_UUID = "00000000-0000-4000-8000-000000000002"
RADOSGW_NAME = "client.rgw.a"

_STORES: dict[Store, str] = {
    "bluestore": """\
osd objectstore = bluestore
bluestore block size = {capacity}
bluestore block db create = false
bluestore block wal create = false
bdev aio poll ms = 25
bluestore cache autotune = false
bluestore cache size = 134217728
""",
    "memstore": """\
osd objectstore = memstore
memstore device bytes = {capacity}
""",
}

# cephx is off: everything listens on the loopback interface only, and `ms mon client mode` must then name crc or
# RadosGW hangs. Short paxos intervals bring the first start from 8 s to 1 s. `tcp_nodelay` saves 40 ms on every GET.
# Lines of the log that nobody will see cost a fifth of an upload: Ceph keeps the newest of them in memory for a crash.
# 512 threads of RadosGW, which is the default, wake each other up on two cores: with eight it needs half the CPU.
# The aio poll time is waited out at every closing of the block file, eight times per start.
# Admin sockets are off: their paths may not be longer than 107 bytes, which a folder of ours can be.
# `rgw trust forwarded https` lets a topic's endpoint carry a password although this S3 speaks plain HTTP.
_TEMPLATE = """\
[global]
fsid = {fsid}
mon host = v2:{host}:{mon_port}/0
mon initial members = a
ms bind msgr1 = false
ms bind msgr2 = true
ms bind ipv4 = true
public addr = {host}
cluster addr = {host}
auth cluster required = none
auth service required = none
auth client required = none
keyring = {folder}/keyring
run dir = {folder}/run
admin socket =
pid file =
log to file = false
log to stderr = false
err to stderr = true
crash dir = {folder}/crash
tmp dir = {folder}/tmp
tmp file template = {folder}/tmp/XXXXXX
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = true
mon allow pool size one = true
mon warn on pool no redundancy = false
paxos propose interval = 0.05
paxos min wait = 0.01
ms async op threads = 1
debug rgw = 0/0
debug osd = 0/0
debug objclass = 0/0
debug objecter = 0/0
debug ms = 0/0
debug rocksdb = 1/1
debug bluestore = 0/0
debug bluefs = 0/0
debug bdev = 0/0
[mon]
log to stderr = true
mon data = {folder}/mon
mon cluster log file = /dev/null
mon data avail crit = 1
mon data avail warn = 2
[mon.a]
public addr = {host}:{mon_port}
[osd]
log to stderr = true
osd data = {folder}/osd
ms dispatch throttle bytes = 104857600
{store}[client]
ms mon client mode = crc secure
[client.admin]
rados mon op timeout = 30
rados osd op timeout = 30
[{radosgw}]
log to stderr = true
rgw data = {folder}/rgw
rgw frontends = beast endpoint={host}:{s3_port} tcp_nodelay=1
rgw thread pool size = 8
rgw enable apis = s3, sts, iam, admin, notifications
rgw rados pool pg num min = 4
rgw enable usage log = false
rgw enable ops log = false
rgw dns name = localhost
rgw trust forwarded https = true
"""


def ceph_conf(folder: Path, *, store: Store, capacity: int, mon_port: int, s3_port: int) -> str:
    """The text of ``ceph.conf`` for a cluster that lives below `folder` and holds at most `capacity` bytes."""
    return _TEMPLATE.format(
        fsid=FSID,
        host=LOOPBACK,
        folder=folder,
        mon_port=mon_port,
        s3_port=s3_port,
        store=_STORES[store].format(capacity=capacity),
        radosgw=RADOSGW_NAME,
    )

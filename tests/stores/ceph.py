"""Ceph RGW as Debian packages it: one monitor, one OSD in memory, one gateway, in a directory, without root.

The packages are fetched by apt into `.stores/ceph` and unpacked there: nothing is installed on the machine. There is no
manager daemon, whose pools and statistics nobody needs here, and no authentication inside the cluster, which listens on
loopback.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.stores.debian import Failed, unpacked
from tests.stores.served import ROOT, Absent, Programs, Served, free_ports

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
PYTHON = Path("/usr/bin/python3")  # Debian's, whose modules the `ceph` command is built for
ACCESS_KEY, SECRET_KEY = "rushes-tester", "rushes-testing-secret"


def install(directory: Path = ROOT / "ceph") -> Path:
    """The root of the unpacked packages. Raises `Absent` where apt has none."""
    try:
        return unpacked(directory, *PACKAGES)
    except Failed as error:
        raise Absent(f"apt has no Ceph here: {error}") from error


@contextmanager
def running(directory: Path) -> Iterator[Served]:
    """A cluster in `directory` while the block lasts. Raises `Absent` when it cannot be had here."""
    root = install()
    monitor, gateway = free_ports(2)
    env = _environment(root)
    for name in ("mon", "osd", "run", "rgw"):
        (directory / name).mkdir(parents=True)
    (directory / "ceph.conf").write_text(_configuration(root, directory, monitor, gateway))
    servers = Programs(directory, env)

    def call(*command: str) -> str:
        done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode:
            raise Absent(f"{command[0]} failed: {done.stderr[-1000:]}")
        return done.stdout

    try:
        call("monmaptool", "--create", "--fsid", _fsid(directory), "--addv", "a", f"[v2:127.0.0.1:{monitor}]", "monmap")
        call("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "-c", "ceph.conf")
        servers.start("monitor", [str(root / "usr/bin/ceph-mon"), "-f", "-i", "a", "-c", "ceph.conf"])
        identity = str(uuid4())
        call(
            str(PYTHON),
            str(root / "usr/bin/ceph"),
            "-c",
            "ceph.conf",
            "--connect-timeout",
            "60",
            "osd",
            "new",
            identity,
        )
        call("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", identity, "-c", "ceph.conf")
        servers.start("osd", [str(root / "usr/bin/ceph-osd"), "-f", "-i", "0", "-c", "ceph.conf"])
        servers.start("gateway", [str(root / "usr/bin/radosgw"), "-f", "-n", "client.rgw", "-c", "ceph.conf"])
        servers.wait_for(gateway, 90)
        keys = ("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
        call("radosgw-admin", "-c", "ceph.conf", "user", "create", "--uid", "rushes", "--display-name", "rushes", *keys)
        version = call("radosgw", "--version").split()[2]
        yield Served("Ceph RGW", version, f"http://127.0.0.1:{gateway}", ACCESS_KEY, SECRET_KEY)
    finally:
        servers.stop()


def _environment(root: Path) -> dict[str, str]:
    libraries = root / "usr/lib/x86_64-linux-gnu"
    if not libraries.exists():
        libraries = next(iter(root.glob("usr/lib/*-linux-gnu*")), libraries)
    return {
        "PATH": f"{root / 'usr/bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{libraries}:{libraries / 'ceph'}:{root / 'lib' / libraries.name}",
        "PYTHONPATH": str(root / "usr/lib/python3/dist-packages"),
    }


def _fsid(directory: Path) -> str:
    text = (directory / "ceph.conf").read_text()
    return next(line.partition("= ")[2] for line in text.splitlines() if line.startswith("fsid"))


def _configuration(root: Path, directory: Path, monitor: int, gateway: int) -> str:
    libraries = Path(_environment(root)["LD_LIBRARY_PATH"].partition(":")[0])
    options = {
        "fsid": str(uuid4()),
        "mon_host": f"v2:127.0.0.1:{monitor}/0",
        "mon_initial_members": "a",
        "public_addr": "127.0.0.1",
        "cluster_addr": "127.0.0.1",
        "ms_bind_msgr1": "false",
        "run_dir": directory / "run",
        "admin_socket": "",
        "log_file": directory / "$name.ceph.log",
        "mon_cluster_log_file": directory / "cluster.log",
        "mon_data": directory / "mon",
        "osd_data": directory / "osd",
        "osd_objectstore": "memstore",
        "memstore_device_bytes": 2 * 1024**3,
        "osd_pool_default_size": 1,
        "osd_pool_default_min_size": 1,
        "osd_pool_default_pg_num": 1,
        "osd_pool_default_pgp_num": 1,
        "osd_pool_default_pg_autoscale_mode": "off",
        "osd_crush_chooseleaf_type": 0,
        "mon_allow_pool_size_one": "true",
        "mon_max_pg_per_osd": 1000,
        "mon_data_avail_crit": 1,
        "plugin_dir": libraries / "ceph",
        "erasure_code_dir": libraries / "ceph/erasure-code",
        "osd_class_dir": libraries / "rados-classes",
        "osd_class_load_list": "*",
        "osd_class_default_list": "*",
        "rgw_frontends": f"beast endpoint=127.0.0.1:{gateway}",
        "rgw_thread_pool_size": 16,
        "rgw_data": directory / "rgw",
    }
    options |= {f"auth_{side}_required": "none" for side in ("cluster", "service", "client")}
    # Without authentication there is nothing to encrypt with, which the gateway would like to by default.
    options |= {f"ms_{who}_mode": "crc" for who in ("client", "service", "cluster")}
    options |= {f"ms_mon_{who}_mode": "crc" for who in ("client", "service", "cluster")}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())

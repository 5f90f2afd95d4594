"""OpenStack Swift with s3api on one loopback disk: proxy, account, container and object server, from PyPI's wheels.

Its venv is its own (`.stores/swift`, made in about 15 s): Swift wants eventlet and other things that our lock must not see.
Objects need extended attributes, which ext4, xfs and tmpfs have.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stores.served import ROOT, Absent, Programs, Served, free_ports

VERSION = "2.38.3"
ACCESS_KEY, SECRET_KEY = "rushes:tester", "testing"
DISK = "loop"
RINGS = ("account", "container", "object")


def install(directory: Path = ROOT / "swift") -> Path:
    """The folder of Swift's programs, installed if they are not. Raises `Absent` when they cannot be had."""
    programs = directory / "bin"
    if (directory / "done").exists():
        return programs
    try:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True, capture_output=True, timeout=120)
        wanted = [str(programs / "pip"), "install", "--quiet", "--only-binary", ":all:", f"swift=={VERSION}"]
        subprocess.run(wanted, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        raise Absent(f"swift {VERSION} cannot be installed: {said.decode(errors='replace')[-500:] or error}") from error
    (directory / "done").touch()
    return programs


@contextmanager
def running(directory: Path) -> Iterator[Served]:
    """Swift in `directory` while the block lasts. Raises `Absent` when it cannot be had here."""
    programs = install()
    (directory / "srv" / DISK).mkdir(parents=True)
    _check_attributes(directory)
    proxy, *ports = free_ports(4)
    for name, text in _configuration(directory, proxy, dict(zip(RINGS, ports, strict=True))).items():
        (directory / name).write_text(text)
    for ring, port in zip(RINGS, ports, strict=True):
        build = [str(programs / "swift-ring-builder"), f"{ring}.builder"]
        for step in (
            ["create", "1", "1", "0"],
            ["add", f"r1z1-127.0.0.1:{port}/{DISK}", "1"],
            ["rebalance"],
        ):
            subprocess.run([*build, *step], cwd=directory, check=True, capture_output=True, timeout=60)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(directory), "SWIFT_DIR": str(directory)}
    servers = Programs(directory, env)
    try:
        for role in (*RINGS, "proxy"):
            servers.start(role, [str(programs / f"swift-{role}-server"), str(directory / f"{role}-server.conf")])
        servers.wait_for(proxy, 40)
        yield Served("OpenStack Swift s3api", VERSION, f"http://127.0.0.1:{proxy}", ACCESS_KEY, SECRET_KEY)
    finally:
        servers.stop()


def _check_attributes(directory: Path) -> None:
    try:
        os.setxattr(directory / "srv", "user.rushes", b"1")
    except OSError as error:
        raise Absent(f"{directory} takes no extended attributes, which Swift needs: {error.strerror}") from error


def _configuration(directory: Path, proxy: int, ports: dict[str, int]) -> dict[str, str]:
    common = (
        f"[DEFAULT]\nbind_ip = 127.0.0.1\nworkers = 0\nuser = {getpass.getuser()}\nswift_dir = {directory}\n"
        "log_level = WARNING\nlog_address = /nonexistent\n"
    )
    files = {
        "swift.conf": "[swift-hash]\nswift_hash_path_suffix = rushes\n[swift-constraints]\nmax_header_size = 16384\n"
    }
    for role, port in ports.items():
        files[f"{role}-server.conf"] = (
            f"{common}bind_port = {port}\ndevices = {directory / 'srv'}\nmount_check = false\ndisable_fallocate = true\n"
            f"[pipeline:main]\npipeline = {role}-server\n[app:{role}-server]\nuse = egg:swift#{role}\n"
        )
    filters = "catch_errors gatekeeper healthcheck listing_formats s3api tempauth bulk copy slo dlo"
    account, user = ACCESS_KEY.split(":")
    options = {
        "catch_errors": "",
        "gatekeeper": "",
        "healthcheck": "",
        "listing_formats": "",
        "s3api": "location = us-east-1\nmax_upload_part_num = 10000\nmin_segment_size = 5242880\n",
        "tempauth": f"user_{account}_{user} = {SECRET_KEY} .admin\n",
        "bulk": "",
        "copy": "",
        "slo": "max_manifest_segments = 10000\nmin_segment_size = 1\n",
        "dlo": "",
    }
    sections = [f"[filter:{name}]\nuse = egg:swift#{name}\n{options[name]}" for name in filters.split()]
    files["proxy-server.conf"] = (
        f"{common}bind_port = {proxy}\n[pipeline:main]\npipeline = {filters} proxy-server\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n" + "".join(sections)
    )
    return files

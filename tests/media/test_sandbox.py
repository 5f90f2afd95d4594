"""The sandbox holds: what a decoder that was taken over can reach, and how tools end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rushes.errors import Misconfigured, Rejected, Unavailable
from rushes.media import child
from rushes.media import sandbox as sandboxes
from rushes.media.limits import Limits
from rushes.media.sandbox import Sandbox, run_task, run_tool
from rushes.media.source import FileSource

from . import intruder
from .clips import Clips, Counted
from .processes import alive, descendants, tools, until

PYTHON = str(Path(sys.executable).resolve())
HERE = Path(__file__).parent
INTRUDER = Path(intruder.__file__).read_text()
ROOT = HERE.parents[__name__.count(".") - 1]  # where this package's own package lies

_READ_FOUR_BYTES = """
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8000)
connection.request("GET", "/source", headers={"Range": "bytes=4-7"})
print(connection.getresponse().read().decode())
"""
_HELD_BY_NAMESPACES = (
    "canary", "passwd", "write elsewhere", "write outside", "host port", "udp", "host processes", "kill worker",
    "become root",
)  # fmt: skip


def _given(tmp_path: Path, port: int) -> dict[str, Any]:
    canary = tmp_path / "canary"
    canary.write_text("the canary sings")
    canary.chmod(0o666)
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    return {"canary": str(canary), "outside": str(outside), "port": port, "worker": os.getpid()}


def _assert_confined(tried: dict[str, Any], given: dict[str, Any], job: Path) -> None:
    allowed = {name for name, result in tried.items() if not str(result).startswith("refused")} - {"uid"}
    assert allowed == {"write here"}
    assert (job / "here").read_text() == "fine"
    assert Path(given["canary"]).read_text() == "the canary sings"
    assert list(Path(given["outside"]).iterdir()) == []
    assert tried["uid"] != 0


async def test_a_task_reaches_nothing_but_its_directory(
    sandbox: Sandbox, tmp_path: Path, job: Path, host_port: int
) -> None:
    given = _given(tmp_path, host_port)
    ended = await run_task(sandbox, intruder.__name__, given, None, job, Limits(), paths=[ROOT])
    ended.result.pop("size", None)
    _assert_confined(ended.result, given, job)


async def test_a_program_reaches_nothing_but_its_directory(
    namespaces: Sandbox, tmp_path: Path, job: Path, host_port: int, clips: Clips
) -> None:
    given = _given(tmp_path, host_port)
    lines: list[str] = []
    argv = [PYTHON, "-I", "-S", "-c", INTRUDER, json.dumps(given)]
    await run_tool(namespaces, argv, FileSource(clips.base), job, Limits(), lines.append)
    tried = json.loads(lines[0])
    _assert_confined(tried, given, job)


async def test_a_program_reads_the_source_and_no_other_address(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    lines: list[str] = []
    argv = [PYTHON, "-I", "-S", "-c", _READ_FOUR_BYTES]
    await run_tool(namespaces, argv, FileSource(clips.base), job, Limits(), lines.append)
    assert lines == ["ftyp"]


def _names(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]


async def test_the_bind_mounts_alone_hold_where_there_is_no_landlock(
    namespaces: Sandbox, tmp_path: Path, job: Path, host_port: int
) -> None:
    bare = replace(namespaces, landlock_abi=0, seccomp=False)
    given = _given(tmp_path, host_port)
    tried = (await run_task(bare, intruder.__name__, given, None, job, Limits(), paths=[ROOT])).result
    for what in _HELD_BY_NAMESPACES:
        assert str(tried[what]).startswith("refused"), what
    assert _names(given["outside"]) == []


@pytest.mark.parametrize(
    ("code", "limits", "expected"),
    [
        ("while True: pass", Limits(cpu_seconds=1), "cpu_limit"),
        ("x = bytearray(2 << 30)", Limits(memory=1 << 30), "memory_limit"),
        ("f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20))", Limits(output_bytes=8 << 20), "output_limit"),
        ("import time; time.sleep(60)", Limits(wall_seconds=0.5), "wall_limit"),
        ("import sys; print('\\x1b[31mno', file=sys.stderr); sys.exit(3)", Limits(), "undecodable"),
    ],
)
async def test_limits_strike_and_are_named(
    namespaces: Sandbox, job: Path, clips: Clips, code: str, limits: Limits, expected: str
) -> None:
    with pytest.raises(Rejected) as caught:
        await run_tool(namespaces, [PYTHON, "-I", "-S", "-c", code], FileSource(clips.base), job, limits, print)
    assert caught.value.code == expected
    assert "\x1b" not in caught.value.details["log"]
    assert tools(os.getpid()) == []


async def test_a_crash_may_be_tried_again(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    code = "import ctypes; ctypes.string_at(0)"
    with pytest.raises(Unavailable) as caught:
        await run_tool(namespaces, [PYTHON, "-I", "-S", "-c", code], FileSource(clips.base), job, Limits(), print)
    assert caught.value.code == "tool_crashed"
    assert "SIGSEGV" in caught.value.message


async def test_an_endless_message_is_not_kept(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    code = "import os\nwhile True: os.write(1, bytes(65536))"
    with pytest.raises(Unavailable):
        await run_tool(namespaces, [PYTHON, "-I", "-S", "-c", code], FileSource(clips.base), job, Limits(), print)


@pytest.mark.parametrize("short", [False, True])
async def test_a_source_that_fails_is_never_a_short_file(
    sandbox: Sandbox, job: Path, clips: Clips, short: bool
) -> None:
    source = Counted(clips("back.mp4"), fail_after=1_000_000, short=short)
    with pytest.raises(Unavailable) as caught:
        await run_task(sandbox, "sound", _sound_arguments(), source, job, Limits())
    assert caught.value.code == "source_unreadable"


def _sound_arguments() -> dict[str, Any]:
    files = {"json": "w.json", "data": "w.dat", "image": "w.png", "width": 100, "height": 20, "channels": 1}
    drawn = {"file": "s.png", "width": 100, "height": 20, "lowest": 30, "floor": -100, "ceiling": 0}
    what = {"index": 1, "meters": [1], "seconds": 3.0, "peaks": files, "spectrogram": drawn, "previews": []}
    return {"demuxer": "mov", "max_pixels": 1 << 24} | what


async def test_cancelling_kills_the_whole_group_at_once(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    lines: list[str] = []
    code = "import time; print('up', flush=True); time.sleep(100)"
    argv = [PYTHON, "-I", "-S", "-c", code]
    work = asyncio.ensure_future(run_tool(namespaces, argv, FileSource(clips.base), job, Limits(), lines.append))
    await until(lambda: lines)
    group = tools(os.getpid())
    assert len(group) == 3  # launcher, init, tool
    work.cancel()
    async with asyncio.timeout(60):  # the tool itself would go on for longer
        with pytest.raises(asyncio.CancelledError):
            await work
    assert alive(group) == []


@pytest.mark.parametrize("mode", ["namespaces", "inherited"])
async def test_tools_die_with_their_worker(tmp_path: Path, clips: Clips, mode: str) -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "doomed_worker.py"), mode, str(clips("a.wav")), str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"running\n"
    below = descendants(worker.pid)
    assert len(below) == (3 if mode == "namespaces" else 2)
    worker.kill()
    await worker.communicate()
    await until(lambda: not alive(below), seconds=5)


async def test_nothing_runs_bare(monkeypatch: pytest.MonkeyPatch, namespaces: Sandbox, job: Path, clips: Clips) -> None:
    refused = Sandbox("inherited", user_namespace=False, drop=False, landlock_abi=0, seccomp=False, denied="policy")
    with pytest.raises(Misconfigured, match="policy"):
        await run_tool(refused, [PYTHON], FileSource(clips.base), job, Limits(), print)
    monkeypatch.setattr(child, "_BOOT", "raise SystemExit(1)")  # as if no child could ever be confined
    with pytest.raises(Misconfigured) as caught:
        await sandboxes.detect()
    assert caught.value.code == "no_sandbox"
    assert len(caught.value.details["tried"]) == 2


async def test_detect_says_what_there_is() -> None:
    found = (await sandboxes.detect()).describe()
    assert found["mode"] in {"namespaces", "inherited"}
    assert found["ffmpeg"] is (found["mode"] == "namespaces")
    assert found["runs_as"] != "uid 0"


def test_av_never_enters_the_worker() -> None:
    names = ("identify", "video", "posters", "sprites", "images", "audio")
    modules = ", ".join(f"rushes.media.{name}" for name in names)
    code = f"import sys, {modules}; print([m for m in ('av', 'PIL', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("mode", ["namespaces", "inherited"])
def test_the_same_as_an_ordinary_user(tmp_path: Path, clips: Clips, host_port: int, mode: str) -> None:
    """Root only: the checks above again, in a worker that is nobody."""
    python = _python_of_nobody()
    home = Path("/tmp") / f"rushes-nobody-{os.getpid()}"  # noqa: S108 - nobody may not enter pytest's directories
    home.mkdir(mode=0o777)
    try:
        for path in (clips("turned.mov"), HERE / "ordinary_worker.py", Path(intruder.__file__)):
            shutil.copy(path, home)
        given = _given(home, host_port)
        _to_nobody(home)
        worker = [python, str(home / "ordinary_worker.py"), mode, json.dumps(given)]
        command = [*_AS_NOBODY, "env", "-i", f"HOME={home}", f"PYTHONPATH={_python_path()}", *worker]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=home)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["user_namespace"] is (mode == "namespaces")
        assert said["size"] == [360, 640]
        _assert_confined(said["tried"], given, home / "job")
    finally:
        shutil.rmtree(home)


_AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def _python_path() -> str:
    source = Path(sandboxes.__file__).resolve().parents[2]
    return f"{source}:{sysconfig.get_path('purelib')}"


def _to_nobody(home: Path) -> None:
    for path in [home, *home.rglob("*")]:
        os.chown(path, 65534, 65534)


def _python_of_nobody() -> str:
    """A Python of this version that nobody can start, with this environment's packages."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become somebody else")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (PYTHON, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        test = [*_AS_NOBODY, "env", "-i", f"PYTHONPATH={_python_path()}", candidate, "-c", "import av, rushes.errors"]
        try:
            if subprocess.run(test, capture_output=True, check=False, cwd="/").returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip(f"no {version} that nobody can start")

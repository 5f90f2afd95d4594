"""Every way a command can fail ends in one plain sentence on stderr, its own exit code, and no traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rushes.cli import exits
from rushes.client import Stopped
from rushes.errors import Conflict, Invalid, Misconfigured, Unauthenticated, Unavailable
from tests.cli.conftest import Rushes
from tests.client.equipment import TOKEN, Fault, Site


def check(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    assert done.returncode == code, done.stderr
    for text in said:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("rushes: ")]) == 1


def run_code(code: str, environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own: for what must be prepared before the command runs."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_missing_file(rushes: Rushes, tmp_path: Path) -> None:
    check(rushes("ingest", tmp_path / "none.mov"), exits.USAGE, "There is no file", "none.mov")
    check(rushes("checksum", tmp_path / "none.mov"), exits.USAGE, "There is no file")


def test_an_empty_file(rushes_here: Rushes, tmp_path: Path) -> None:
    (tmp_path / "empty.mov").touch()
    check(rushes_here("ingest", tmp_path / "empty.mov"), exits.USAGE, "is empty")


def test_a_directory(rushes_here: Rushes, tmp_path: Path) -> None:
    check(rushes_here("checksum", tmp_path), exits.USAGE, "is a directory")
    (tmp_path / "bare").mkdir()
    assert "nothing to upload" in rushes_here("ingest", tmp_path / "bare").stdout


AS_NOBODY = """
import os, sys
from rushes.cli import main
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
main(["ingest", sys.argv[1]])
"""


def test_an_unreadable_file(environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:  # pytest's own nobody else may enter
        Path(directory).chmod(0o755)
        path = Path(directory) / "secret.mov"
        path.write_bytes(b"x")
        path.chmod(0)
        done = run_code(AS_NOBODY, environment, path)
        check(done, exits.USAGE, "You may not read", "secret.mov")


def test_nothing_is_started_for_files_that_cannot_be_taken(rushes_here: Rushes, tmp_path: Path) -> None:
    rushes_here("ingest", tmp_path / "none.mov")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("token", "said"), [("wrong", "not valid here"), ("expired-token", "has expired")])
def test_a_token_that_is_refused(rushes_here: Rushes, site: Site, clip: Path, token: str, said: str) -> None:
    check(rushes_here("ingest", clip, "--server", site.url, "--token", token), exits.REFUSED, said)


def test_no_token(rushes_here: Rushes, site: Site, clip: Path) -> None:
    check(rushes_here("ingest", clip, "--server", site.url), exits.REFUSED, "--token", "RUSHES_TOKEN")


def test_a_stopped_server(rushes: Rushes, clip: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = rushes("ingest", clip, RUSHES_SERVER=f"http://127.0.0.1:{port}", RUSHES_TOKEN=TOKEN)
    check(done, exits.UNAVAILABLE, f"No server answers at http://127.0.0.1:{port}")


def test_no_server_at_all(rushes_here: Rushes) -> None:
    check(rushes_here("ls"), exits.UNAVAILABLE, "rushes up", "--server")


def test_an_address_that_is_none(rushes_here: Rushes, clip: Path) -> None:
    check(rushes_here("ingest", clip, "--server", "localhost", "--token", "t"), exits.REFUSED, "https://host:port")


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://me:secret@127.0.0.1:9", "http://127.0.0.1:99999", "file:///etc/passwd", "http://\udcff"],
)
def test_addresses_that_cannot_be(rushes_here: Rushes, url: str) -> None:
    for arguments in (["ls", "--server", url], ["ls", "--server", url, "--token", "t"]):
        done = rushes_here(*arguments)
        check(done, exits.REFUSED, "https://host:port")
        assert "secret" not in done.stderr


def test_no_home(environment: dict[str, str], clip: Path) -> None:
    nobody = """
import os, sys
from rushes.cli import main
import rushes.embedded.address
os.environ.pop("HOME")
os.environ.pop("XDG_STATE_HOME")
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(54321); os.setuid(54321)
    main(sys.argv[1:])
print("rushes: no home directory", file=sys.stderr)
sys.exit(3)
"""
    for arguments in (["pending"], ["ls"], ["login", "--list"]):
        check(run_code(nobody, environment, *arguments), exits.REFUSED, "no home directory")


def test_a_refused_part(rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path) -> None:
    site.faults = [Fault("put", 400, "InvalidRequest")]
    check(rushes_here("ingest", clip, *at), exits.REFUSED, "InvalidRequest")


def test_a_full_disk(rushes: Rushes, clip: Path, environment: dict[str, str]) -> None:
    """Where stdout goes: the one thing that `checksum` writes."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-m", "rushes", "checksum", clip, "--json"],
            env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    check(done, exits.UNAVAILABLE, "The disk is full")


def test_a_reader_that_goes_away(clip: Path, environment: dict[str, str]) -> None:
    command = f"'{sys.executable}' -m rushes checksum '{clip}' --json | true"
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_usage(rushes_here: Rushes, clip: Path) -> None:
    for arguments in (["ingest"], ["nonsense"], ["ingest", clip, "--concurrency", "99"], ["status", "no-uuid"]):
        done = rushes_here(*arguments)
        assert done.returncode == exits.USAGE
        assert "Usage: rushes" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metadata", "novalue", "--title", "T"], "KEY=VALUE"),
        (["--metadata", "a=1", "--metadata", "a=2", "--title", "T"], "each key once"),
        (["--title", "x" * 501], "--title"),
    ],
)
def test_options_that_do_not_fit(rushes_here: Rushes, clip: Path, options: list[str], said: str) -> None:
    check(rushes_here("ingest", clip, *options), exits.USAGE, said)


def test_a_setting_that_cannot_be(rushes_here: Rushes, clip: Path) -> None:
    check(rushes_here("ingest", clip, RUSHES_API_PORT="many"), exits.REFUSED, "RUSHES_API_PORT")


def test_a_data_directory_that_cannot_be_made(rushes_here: Rushes, clip: Path) -> None:
    check(rushes_here("ingest", clip, RUSHES_DATA_DIR=str(clip / "below")), exits.REFUSED, "RUSHES_DATA_DIR")


WITHOUT_SERVER = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('fastapi', 'granian', 'psycopg', 'jwt', 'dbos'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Absent())
from rushes.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["ingest", "up", "api", "token"])
def test_a_missing_server_extra_is_named(clip: Path, environment: dict[str, str], command: str) -> None:
    arguments = [command, clip] if command == "ingest" else [command]
    done = run_code(WITHOUT_SERVER, environment | {"RUSHES_TOKEN_SECRET": "s" * 40}, *arguments)
    check(done, exits.REFUSED, "pip install 'rushes[server,media]'")


def test_an_api_names_all_that_it_misses_at_once(rushes: Rushes) -> None:
    done = rushes("api")
    check(done, exits.REFUSED, "RUSHES_TOKEN_SECRET", "RUSHES_DATABASE_URL", "RUSHES_STORAGE_ENDPOINT")
    check(rushes("api", RUSHES_TOKEN_SECRET="s" * 40), exits.REFUSED, "RUSHES_DATABASE_URL")


BROKEN = """
import sys
import rushes.cli.checksum as broken
broken._read = None
from rushes.cli import main
main(["checksum", sys.argv[1]])
"""


@pytest.mark.parametrize("debug", ["", "1"])
def test_the_unexpected_is_one_line_and_a_traceback_when_asked_for(
    clip: Path, environment: dict[str, str], debug: str
) -> None:
    done = run_code(BROKEN, environment | {"RUSHES_DEBUG": debug}, clip)
    assert done.returncode == exits.UNEXPECTED
    assert ("Traceback" in done.stderr) == bool(debug)
    assert ("RUSHES_DEBUG=1" in done.stderr) == (not debug)
    assert "TypeError" in done.stderr


def test_codes() -> None:
    assert exits.code_of(Stopped("stopped", "")) == 130
    assert exits.code_of(Invalid("a", "")) == 2
    assert exits.code_of(Unavailable("a", "")) == exits.code_of(OSError(28, "No space left on device")) == 4
    assert {exits.code_of(kind("a", "")) for kind in (Conflict, Misconfigured, Unauthenticated)} == {3}
    assert exits.code_of(ValueError()) == 1
    assert [exits.common_code(codes) for codes in ([0, 0], [0, 3, 3], [3, 4], [])] == [0, 3, 1, 0]


def test_nothing_drives_the_terminal() -> None:
    assert exits.printable("a\x1b[31mb\x07\tc\n") == "a�[31mb�\tc\n"

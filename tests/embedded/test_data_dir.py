"""What a data directory holds besides data: secrets, ports, the log."""

from __future__ import annotations

import errno
import io
import json
import socket
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from rushes.embedded import files, log, ports, secrets
from rushes.embedded.log import Log
from rushes.errors import Misconfigured, Unavailable


class TestSecrets:
    def test_they_are_made_once_and_private(self, tmp_path: Path) -> None:
        made = secrets.load(tmp_path)
        assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
        assert secrets.load(tmp_path) == made
        values = list(asdict(made).values())
        assert len(set(values)) == len(values)
        assert min(len(value) for value in made.hidden()) >= 43
        assert made.storage_access_key not in made.hidden()
        assert made.database_password not in repr(made)

    def test_a_new_kind_of_secret_leaves_the_others_alone(self, tmp_path: Path) -> None:
        made = asdict(secrets.load(tmp_path))
        del made["filer_read_key"]
        (tmp_path / "secrets.json").write_text(json.dumps(made))
        completed = asdict(secrets.load(tmp_path))
        assert len(completed.pop("filer_read_key")) >= 43
        assert completed == made
        assert asdict(secrets.load(tmp_path)).keys() == {*made, "filer_read_key"}

    @pytest.mark.parametrize("damaged", ["", "{", "[]", '{"token_secret": 1}'])
    def test_damaged_ones_are_never_replaced(self, tmp_path: Path, damaged: str) -> None:
        (tmp_path / "secrets.json").write_text(damaged)
        with pytest.raises(Misconfigured, match="is damaged"):
            secrets.load(tmp_path)
        assert (tmp_path / "secrets.json").read_text() == damaged


class TestPorts:
    def test_they_are_remembered_and_different(self, tmp_path: Path) -> None:
        names = [f"part{number}" for number in range(50)]
        first = ports.assign(tmp_path, names)
        assert len(set(first.values())) == 50
        assert set(first.values()) <= set(ports.RANGE)
        assert ports.assign(tmp_path, names) == first == ports.remembered(tmp_path)
        assert ports.assign(tmp_path, ["another"])["another"] not in first.values()

    def test_a_taken_one_is_replaced_and_that_remembered(self, tmp_path: Path) -> None:
        first = ports.assign(tmp_path, ["a", "b"])
        with socket.create_server(("127.0.0.1", first["a"])):
            second = ports.assign(tmp_path, ["a", "b"])
        assert second["a"] not in first.values()
        assert second["b"] == first["b"]
        assert ports.assign(tmp_path, ["a", "b"]) == second

    def test_a_connection_that_still_closes_does_not_count(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                accepted, _ = server.accept()
                accepted.close()  # the server closes first: TIME_WAIT is on its port
        assert ports.is_free(port)

    @pytest.mark.parametrize("damaged", ["", "{", "[]", '{"a": "x"}'])
    def test_a_damaged_memory_is_forgotten(self, tmp_path: Path, damaged: str) -> None:
        (tmp_path / "ports.json").write_text(damaged)
        assert ports.assign(tmp_path, ["a"])["a"] in ports.RANGE

    def test_none_left(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="Every port from 10240 to 22751"):
            ports.assign(tmp_path, ["a"], lambda _: False)

    def test_the_api_takes_what_is_wanted_or_the_next(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as squatter:
            port = squatter.getsockname()[1]
            with (
                pytest.raises(Unavailable, match=f"Port {port} of 127.0.0.1 is already in use"),
                ports.api_port("127.0.0.1", port, fixed=True),
            ):
                pass
            with ports.api_port("127.0.0.1", port, fixed=False) as other:
                assert port < other < port + 100
        with ports.api_port("127.0.0.1", port, fixed=True) as same:
            assert same == port
        with ports.api_port("::1", 0, fixed=True) as any_port:
            assert any_port in ports.RANGE

    def test_two_stacks_that_choose_at_once_choose_different_ports(self) -> None:
        """Neither listens yet, so that the port itself looks free to both."""
        with ports.api_port("127.0.0.1", 0, fixed=False) as first:
            with ports.api_port("127.0.0.1", first, fixed=False) as second:
                assert first < second < first + 100
            with (
                pytest.raises(Unavailable, match=f"Port {first} of 127.0.0.1 is already in use"),
                ports.api_port("127.0.0.1", first, fixed=True),
            ):
                pass
            assert ports.is_free(first), "the API has to be able to listen there"
        with ports.api_port("127.0.0.1", first, fixed=True) as again:
            assert again == first

    def test_an_address_of_another_machine_is_explained(self) -> None:
        with (
            pytest.raises(Misconfigured, match=r"Nothing can listen on 203\.0\.113\.1"),
            ports.api_port("203.0.113.1", 8420, fixed=False),
        ):
            pass


class TestLog:
    def test_a_line_has_its_time_its_child_and_its_level(self) -> None:
        out = io.StringIO()
        written = Log(out, clock=lambda: 0)
        written.write("info", "api", "hello")
        written.write("warning", "postgres", "careful")
        written.write("debug", "api", "unseen")
        first, second = out.getvalue().splitlines()
        assert first[8:] == " api       hello"
        assert second[8:] == " postgres  WARNING: careful"
        assert first[2] == first[5] == ":"

    def test_secrets_and_control_characters_are_not_written(self) -> None:
        out = io.StringIO()
        written = Log(out, secrets=["hunter2", ""])
        written.hide(["hunter2-long"])
        written.write("info", "api", "a hunter2-long and hunter2\x1b[31m\nforged line\u2028x\tok")
        assert out.getvalue()[8:] == " api       a ••• and •••\\x1b[31m\\x0aforged line\\x2028x\tok\n"

    def test_json_for_a_collector(self) -> None:
        out = io.StringIO()
        written = Log(out, form="json", clock=lambda: 0)
        written.write("error", "api", 'quote " and\nline')
        written.write("info", "api", '{"already": "json"}')
        first, second = out.getvalue().splitlines()
        told = {"time": "1970-01-01T00:00:00Z", "level": "error", "name": "api", "message": 'quote " and\nline'}
        assert json.loads(first) == told
        assert second == '{"already": "json"}'

    def test_the_file_is_private_and_bounded(self, tmp_path: Path) -> None:
        path = tmp_path / "stack.log"
        written = Log(None, file=path)
        written.write("info", "api", "first")
        for _ in range(3 * log.FILE_BYTES // 1_000_000):
            written.write("info", "api", "x" * 1_000_000)
        written.close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert sorted(file.name for file in tmp_path.iterdir()) == ["stack.log", "stack.log.1"]
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2.3 * log.FILE_BYTES

    def test_it_goes_on_when_its_reader_has_gone(self, tmp_path: Path) -> None:
        reader, writer = socket.socketpair()
        stream = writer.makefile("w")
        written = Log(stream, file=tmp_path / "log")
        reader.close()
        for number in range(3):
            written.write("info", "api", f"line {number}")
        written.close()
        assert (tmp_path / "log").read_text().count("line") == 3
        writer.close()
        with pytest.raises(OSError, match="Broken pipe"):
            stream.close()


class TestFiles:
    def test_writing_replaces_whole_files_and_leaves_nothing_else(self, tmp_path: Path) -> None:
        files.write_private(tmp_path / "a", "old")
        files.write_private(tmp_path / "a", "new")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "new")]
        with pytest.raises(UnicodeEncodeError):
            files.write_private(tmp_path / "a", "\ud800")
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "new")]

    def test_a_new_directory_is_private_and_an_old_one_keeps_its_mode(self, tmp_path: Path) -> None:
        assert stat.S_IMODE(files.private_directory(tmp_path / "new").stat().st_mode) == 0o700
        (tmp_path / "shared").mkdir(mode=0o755)
        assert stat.S_IMODE(files.private_directory(tmp_path / "shared").stat().st_mode) == 0o755

    def test_refusals_are_explained_and_the_rest_passes(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="is full"), files.explained(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(Misconfigured, match=r"cannot be used: .*Read-only"), files.explained(tmp_path):
            raise OSError(errno.EROFS, "Read-only file system", str(tmp_path))
        with pytest.raises(ConnectionResetError), files.explained(tmp_path):
            raise ConnectionResetError(errno.ECONNRESET, "reset")

"""Help and completion: every command says what it does, with an example; the shell completes them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rushes.cli import exits
from tests.cli.conftest import Rushes

BIN = Path(sys.executable).parent


def commands(rushes: Rushes, *group: str) -> Iterator[tuple[str, ...]]:
    """Every command there is, by what the help of its group lists."""
    listed = rushes(*group, "--help").stdout.partition("\nCommands:\n")[2].partition("\n\n")[0]
    for line in listed.splitlines():
        assert not line.endswith("..."), f"the first sentence is too long to be shown whole: {line}"
        name = line.split()[0]
        if "\nCommands:\n" in rushes(*group, name, "--help").stdout:
            yield from commands(rushes, *group, name)
        else:
            yield *group, name


def test_every_command_has_an_example(rushes_here: Rushes) -> None:
    found = list(commands(rushes_here))
    assert {("get",), ("watch",), ("titles", "edit"), ("tenant", "set"), ("login",)} <= set(found)
    for command in found:
        said = rushes_here(*command, "--help").stdout
        examples = re.search(r"\n  Examples?:\n((?:    .+\n)+)", said)
        assert examples is not None, f"{' '.join(command)} has no example"
        assert f"rushes {' '.join(command)}" in examples[1]


def test_exit_codes_are_documented(rushes_here: Rushes) -> None:
    said = " ".join(rushes_here("--help").stdout.split())
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    for code, meaning in exits.CODES:
        assert f"{code} {meaning}" in said
        assert f"| {code} | {meaning} |" in page


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash cannot be had on this machine")
def test_bash_completes(environment: dict[str, str]) -> None:
    script = (
        'eval "$(rushes completion bash)"; COMP_WORDS=(rushes ti); COMP_CWORD=1; $(complete -p rushes |'
        ' sed "s/.*-F //; s/ rushes//") rushes ti rushes; echo "${COMPREPLY[@]}"'
    )
    env = environment | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "titles\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_scripts(rushes_here: Rushes, shell: str) -> None:
    done = rushes_here("completion", shell)
    assert done.returncode == exits.OK
    assert f"complete_{shell}" in done.stdout
    assert rushes_here("completion", "cmd").returncode == exits.USAGE

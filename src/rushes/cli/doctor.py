"""`rushes doctor`: is everything there, does it do what it has to, and what to do where it does not."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rushes.cli.exits import printable
from rushes.cli.local import find_stack, read_settings, server_code, stack_settings
from rushes.cli.options import DataDir, Json

if TYPE_CHECKING:
    from rushes.ingest.diagnosis import Finding

COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Make missing buckets, and set their CORS and lifecycle; keeps others' rules.")
    ] = False,
    probe: Annotated[bool, typer.Option("--probe", help="Try out again what storage enforces.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Look whether all that a server needs works.

    The stack that runs on this machine, else what the RUSHES_ settings name. Exits with 1 when there is a problem.

    \b
    Examples:
      rushes doctor
      rushes doctor --fix
    """
    with server_code():
        from rushes.main import diagnose
    settings = read_settings(data_dir=data_dir)
    running = find_stack(settings)
    if running is not None:
        settings = stack_settings(running)
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries complain of is said below, once
    findings = asyncio.run(diagnose(settings, list(os.environ), fix=fix, anew=probe))
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        print(json.dumps({"ok": not problems, "findings": [finding.to_json() for finding in findings]}, indent=1))
    else:
        _print(findings)
    raise typer.Exit(1 if problems else 0)


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        level = typer.style(f"{finding.level:<8}", fg=COLOURS[finding.level]) if sys.stdout.isatty() else None
        print(f"{level or f'{finding.level:<8}'} {finding.topic:<{width}}  {printable(finding.text)}")
        if finding.advice:
            print(f"{'':<8} {'':<{width}}  → {printable(finding.advice)}")
    counts = {level: sum(finding.level == level for finding in findings) for level in ("problem", "warning")}
    said = [f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items() if count]
    print(f"\n{' and '.join(said) or 'Everything is as it should be'}.")

"""`rushes completion`: the shell completes commands and options."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="Which shell.", show_default=False)],
) -> None:
    """Print a shell's completion script.

    With it, TAB completes commands and options.

    \b
    Examples:
      eval "$(rushes completion bash)"          in ~/.bashrc
      eval "$(rushes completion zsh)"           in ~/.zshrc, after compinit
      rushes completion fish > ~/.config/fish/completions/rushes.fish
    """
    print(get_completion_script(prog_name="rushes", complete_var="_RUSHES_COMPLETE", shell=shell.value))

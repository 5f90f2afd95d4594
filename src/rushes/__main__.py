"""``python -m rushes``: the same command as ``rushes``; child processes of the embedded stack are started this way."""

from rushes.cli import main

main()

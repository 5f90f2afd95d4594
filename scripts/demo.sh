#!/bin/sh
# The demo: a clip with picture detail and sound, made here, goes through the whole stack on free ports and a data
# directory of its own. With a terminal the stack stays up until Ctrl-C, and leaves nothing; without one it stops at once,
# and what it made stays, with a word on how to look at it.
set -eu
cd "$(dirname "$0")/.."

umask 022
data=$(mktemp -d "${TMPDIR:-/tmp}/rushes-demo.XXXXXX")
kept=
keep=
trap '[ "$kept" ] || { rm -rf "$data"; echo "The demo is over; its stack and all that was in it are gone."; }' EXIT
trap '[ "$keep" ] && exit 0; exit 130' INT # with a terminal, Ctrl-C is how the demo ends
trap 'exit 143' TERM HUP

printf 'Making a sample clip …\n'
.venv/bin/python scripts/make_clip.py "$data/sample.mp4"

if [ -t 1 ]; then keep=--keep-running; fi
# shellcheck disable=SC2086 # $keep is one word or none
RUSHES_DATA_DIR="$data/stack" RUSHES_STATE_DIR="$data/state" .venv/bin/rushes ingest "$data/sample.mp4" --title "Sample clip" --tag demo $keep || {
    status=$?
    [ "$keep" ] && [ "$status" = 130 ] && exit 0 # Ctrl-C is how the demo ends
    exit "$status"
}

[ "$keep" ] && exit 0
kept=1
cat <<END

Without a terminal the stack stops here. To look at the asset again:
  RUSHES_DATA_DIR=$data/stack $PWD/.venv/bin/rushes up              # then, beside it:
  RUSHES_DATA_DIR=$data/stack $PWD/.venv/bin/rushes ls              # the asset's upload
  RUSHES_DATA_DIR=$data/stack $PWD/.venv/bin/rushes status UPLOAD   # the asset, with links
To remove it: rm -rf $data
END

"""The README's flow by hand, exactly as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.equipment import Site, sha256

README = Path(__file__).parents[2] / "README.md"


def test_the_flow_by_hand_publishes_a_file(stack: Site, clip: Path, tmp_path: Path) -> None:
    assert shutil.which("curl"), "install the package curl: the README's flow by hand needs it"
    block = re.search(r"```bash\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    script = block[1].replace(". .venv/bin/activate\n", "", 1)
    here = Path(sys.executable).parent
    env = {
        "PATH": f"{here}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "API": f"{stack.running.api_url}/v1",
        "FILE": str(clip),
        "RUSHES_DATA_DIR": str(stack.running.data_dir),
    }
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asset = json.loads(
        done.stdout[done.stdout.index("\n{\n") if "\n{\n" in done.stdout else done.stdout.rindex("}{") + 1 :]
    )
    assert (asset["status"], asset["sha256"]) == ("published", sha256(clip))

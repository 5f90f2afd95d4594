"""What the documentation tells people to type, exactly as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.equipment import Site, sha256

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


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


def test_the_page_about_the_library_runs_from_top_to_bottom(stack: Site, tmp_path: Path) -> None:
    """Its blocks are one program, in the order of the page. What it uploads is no film, so that nothing has to be encoded."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sdk.md").read_text(), re.DOTALL)
    assert len(blocks) >= 9
    allow = [sys.executable, "-m", "rushes", "tenant", "set", "local", "--types", "*"]
    subprocess.run(allow, env=os.environ | dict(stack.running.environment), check=True, capture_output=True)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(os.urandom(48_000_000))  # enough that a stop comes before the end
    for name in ("A001.mp4", "reel 2/A002.mp4"):
        path = tmp_path / "card" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(100_000) + name.encode())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "RUSHES_SERVER": stack.running.api_url,
            "RUSHES_TOKEN": stack.token,
        },
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert said.startswith(f"published {sha256(clip)}")
    assert "not done" not in said
    assert "card/reel 2/A002.mp4 done" in said
    assert re.search("stopped", said, re.IGNORECASE)
    assert "file_missing True There is no file missing.mp4." in said
    assert sha256(tmp_path / "copy.mp4") == sha256(clip)
    assert "['Night market']" in said
    assert "published published" in said

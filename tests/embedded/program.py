"""A stand-in for the command line: `up` runs the stack; its roles are small programs on the real servers."""

from __future__ import annotations

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg

from rushes.config import Settings
from rushes.embedded.log import Log
from rushes.embedded.stack import Roles, run
from rushes.errors import Problem


def up(fixed: bool) -> int:
    me = (sys.executable, __file__)
    roles = Roles(migrate=(*me, "migrate"), api=(*me, "api"), worker=(*me, "worker"))
    log = Log(sys.stdout, level="debug")
    try:
        run(
            Settings(),
            workers=2,
            api_port_fixed=fixed,
            log=log,
            on_ready=lambda running: print("ready at", running.api_url, flush=True),
            roles=roles,
        )
    except Problem as problem:
        print(f"{type(problem).__name__} {problem.code}: {problem.message}", flush=True)
        return 3
    return 0


def migrate() -> int:
    """PROGRAM_MIGRATE, when set, is what it does instead: skip, fail, hang."""
    match os.environ.get("PROGRAM_MIGRATE"):
        case "skip":
            return 0
        case "fail":
            print("the schema is from the future")
            return 1
        case "hang":
            time.sleep(60)
    with psycopg.connect(os.environ["RUSHES_DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
    return 0


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.send_header("X-Rushes-Instance", os.environ["RUSHES_INSTANCE"])
        self.end_headers()


def api() -> int:
    HTTPServer(
        (os.environ.get("RUSHES_API_HOST", "127.0.0.1"), int(os.environ["RUSHES_API_PORT"])), Api
    ).serve_forever()
    return 0


def worker() -> int:
    print("working with", os.environ["RUSHES_DATABASE_URL"], os.environ.get("RUSHES_STORAGE_SECRET_KEY"))
    while True:
        time.sleep(60)


if __name__ == "__main__":
    if sys.argv[1] == "up":
        sys.exit(up(fixed="--fixed" in sys.argv))
    sys.exit({"migrate": migrate, "api": api, "worker": worker}[sys.argv[1]]())

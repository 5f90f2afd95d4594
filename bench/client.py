"""What an upload costs the machine it comes from, ours beside boto3, obstore, aws-cli, rclone, s5cmd and tuspy.

    make bench-client        or: python -m bench.client [sink] [store] [lines] [home] [--gib 4] [--rounds 3] [--only boto3 …]

Four parts. `sink`: one big file, 20 of 50 MB and 2,000 of 200 kB to a TLS server that throws everything away (`bench.sink`),
so that what is measured is the client. `store`: the same to the embedded store behind our own API; there our figures include
begin, the ledger and the verified finalize, which the others do not have. `lines`: over a proxy (`tests/client/line.py`) with
a rate cap, 200 ms there and back, a connection reset every 100 MiB, and all of it: goodput against the line's rate, and what
was sent twice. `home`: 100 MB over a line that takes 40 Mbit/s.

All send parts of 64 MiB, four at once, to `sink` and `store` (ours as shipped: four to begin with, parts of 8 or 16 MiB);
over lines each as it is shipped. Runs take turns, so that a busy machine slows all alike; figures are medians. The peers are
installed, as pinned in bench/peers.txt, in the user's cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from bench import processes
from bench.contenders import CONTENDERS, Contender, Cost, Job, install_peers, sink, through, versions
from bench.core import without_media
from bench.sending import token
from rushes.embedded import seaweed
from tests.client.line import Line

MIB, GIB = 1024**2, 1024**3
PART, AT_ONCE = 64 * MIB, 4
SMALL_AT_ONCE = 16
RATE = 40e6  # bytes a second of the bad lines: 320 Mbit/s
HOME_RATE, HOME_SIZE = 5e6, 100_000_000  # 40 Mbit/s
SLACK = 6  # times as long as the line needs: then a run is given up
WEATHERS = (
    ("a cap alone", {}),
    ("200 ms there and back", {"delay": 0.1}),
    ("1 % resets: a chance of 1 in 100 in every MiB", {"resets": 0.01}),
    ("both", {"delay": 0.1, "resets": 0.01}),
)


def files(directory: Path, name: str, count: int, size: int) -> tuple[str, ...]:
    """`count` files of `size` bytes, no block like another, in a folder of their own and in the page cache."""
    folder = directory / name
    folder.mkdir()
    block = os.urandom(MIB)
    paths = []
    for number in range(count):
        path = folder / f"{number:05}.mov"
        with path.open("wb") as file:
            left = size
            while left > 0:
                head = f"{number} {left} ".encode()
                left -= file.write(memoryview(head + block)[: min(left, MIB)])
        paths.append(str(path))
    return tuple(paths)


def take_turns(contenders: Sequence[Contender], job: Job, rounds: int) -> dict[str, list[Cost] | str]:
    """Every contender's costs, or why it failed; a failed one has no further turn."""
    found: dict[str, list[Cost] | str] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            so_far = found[contender.name]
            if isinstance(so_far, str):
                continue
            cost = contender.run(job)
            if isinstance(cost, str):
                found[contender.name] = cost
            else:
                so_far.append(cost)
    return found


def table(title: str, found: dict[str, list[Cost] | str], size: int) -> None:
    """One workload: what each took, and how fast it was against the fastest that is not ours."""
    ours = {contender.name for contender in CONTENDERS if contender.ours}
    walls = {
        name: statistics.median(c.wall for c in costs) for name, costs in found.items() if not isinstance(costs, str)
    }
    best = min((wall for name, wall in walls.items() if name not in ours), default=None)
    print(f"\n### {title}\n")
    print("| | CPU-s/GiB | MB/s | against the fastest peer | peak PSS, MiB |\n|---|---|---|---|---|")
    for name, costs in found.items():
        if isinstance(costs, str):
            print(f"| {name} | {costs} | | | |")
            continue
        cpu = statistics.median(cost.cpu for cost in costs) / (size / GIB)
        peak = statistics.median(cost.peak for cost in costs) / MIB
        ratio = f"{best / walls[name]:.2f} ×" if best else ""
        print(f"| {name} | {cpu:.2f} | {size / 1e6 / walls[name]:.0f} | {ratio} | {peak:.0f} |", flush=True)


def workloads(directory: Path, gib: float, only: Sequence[str]) -> Iterator[tuple[str, Job]]:
    """(title, job without a place) of each; the files are removed when the next is asked for."""
    empty = Job((), "", "", "", "", "", "", None)
    wanted = (
        ("big", f"One file of {gib:g} GiB", 1, int(gib * GIB), AT_ONCE),
        ("many", "20 files of 50 MB", 20, 50_000_000, AT_ONCE),
        ("small", "2,000 files of 200 kB", 2_000, 200_000, SMALL_AT_ONCE),
    )
    for name, title, count, size, lines in wanted:
        if only and name not in only:
            continue
        made = files(directory, name, count, size)
        yield title, replace(empty, files=made, part=PART, lines=lines)
        for path in made:
            Path(path).unlink()
        (directory / name).rmdir()


def to_sink(directory: Path, chosen: Sequence[Contender], args: argparse.Namespace) -> None:
    with sink(directory, directory / "log") as place:
        print(f"\n## To a TLS sink (medians of {args.rounds} runs that take turns)")
        for title, work in workloads(directory, args.gib, args.workload):
            job = replace(place, files=work.files, part=work.part, lines=work.lines)
            table(title, take_turns(chosen, job, args.rounds), job.size)


@contextmanager
def embedded(directory: Path) -> Iterator[Job]:
    """API, worker, PostgreSQL and SeaweedFS; nothing is processed, for that would be measured too."""
    log = directory / "log"
    with (
        seaweed.running(directory / "seaweed") as store,
        processes.database(
            directory / "postgres",
            store.endpoint,
            storage_access_key=store.access_key,
            storage_secret_key=store.secret_key,
        ) as (settings, _),
        processes.api(settings, log) as (api, _),
        processes.worker(settings, log),
    ):
        assert settings.database_url is not None, "just made"
        with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as conn:
            without_media(conn)
        yield Job((), store.endpoint, api, token(), settings.bucket_incoming, store.access_key, store.secret_key, None)


def to_store(directory: Path, chosen: Sequence[Contender], args: argparse.Namespace) -> None:
    print(f"\n## To the embedded store (medians of {args.store_rounds} runs that take turns)")
    for title, work in workloads(directory, args.store_gib, args.workload):
        with tempfile.TemporaryDirectory(dir=directory) as name, embedded(Path(name)) as place:
            job = replace(place, files=work.files, part=work.part, lines=work.lines)
            able = [one for one in chosen if not one.tus and "engine" not in one.name]
            table(title, take_turns(able, job, args.store_rounds), job.size)


def over_lines(directory: Path, chosen: Sequence[Contender], args: argparse.Namespace) -> None:
    print(f"\n## Over bad lines: {RATE * 8 / 1e6:.0f} Mbit/s, one file of {args.line_mb} MB\n")
    rows: dict[str, list[str]] = {}
    made = files(directory, "line", 1, args.line_mb * 1_000_000)
    with Line("https://127.0.0.1:1", seed=args.seed) as line, sink(directory, directory / "log", line.url) as place:
        line.upstream = place.url
        job = replace(through(place, line.url), files=made, seconds=SLACK * args.line_mb * 1e6 / RATE)
        for _, weather in WEATHERS:
            for contender in chosen:
                line.clear(seed=args.seed)  # the same chances for all
                line.weather(rate=RATE, **weather)
                if "engine" not in contender.name:
                    rows.setdefault(contender.name, []).append(_over(line, contender, job))
    print(f"| goodput of the line's rate; sent twice | {' | '.join(name for name, _ in WEATHERS)} |")
    print("|---|" + "---|" * len(WEATHERS))
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def from_home(directory: Path, chosen: Sequence[Contender], args: argparse.Namespace) -> None:
    print(f"\n## {HOME_SIZE / 1e6:.0f} MB over {HOME_RATE * 8 / 1e6:.0f} Mbit/s\n")
    print("| | seconds, the whole process | sent twice |\n|---|---|---|")
    made = files(directory, "home", 1, HOME_SIZE)
    with Line("https://127.0.0.1:1", seed=args.seed) as line, sink(directory, directory / "log", line.url) as place:
        line.upstream = place.url
        line.weather(rate=HOME_RATE)
        job = replace(through(place, line.url), files=made, seconds=SLACK * HOME_SIZE / HOME_RATE)
        for contender in chosen:
            if "engine" in contender.name:
                continue
            before = line.up
            cost = contender.run(job)
            if isinstance(cost, str):
                print(f"| {contender.name} | {cost.splitlines()[0][:60]} | |")
            else:
                print(f"| {contender.name} | {cost.wall:.1f} | {max(0.0, (line.up - before) / HOME_SIZE - 1):.1%} |")


def _over(line: Line, contender: Contender, job: Job) -> str:
    before, resets = line.up, line.resets
    cost = contender.run(job)
    twice = max(0.0, (line.up - before) / job.size - 1)
    if isinstance(cost, str):
        return cost.splitlines()[0][:60]
    struck = f" ({line.resets - resets} resets)" if line.resets > resets else ""
    return f"{job.size / cost.wall / RATE:.0%}; {twice:.1%}{struck}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["sink", "store", "lines", "home"])
    parser.add_argument("--gib", type=float, default=4, help="of the one big file, to the sink")
    parser.add_argument("--store-gib", type=float, default=1, help="of the one big file, to the embedded store")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store-rounds", type=int, default=1)
    parser.add_argument("--line-mb", type=int, default=320)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--only", nargs="+", default=[], help="contenders whose names begin so")
    parser.add_argument("--workload", nargs="+", default=[], choices=["big", "many", "small"])
    args = parser.parse_args()
    install_peers()
    chosen = [c for c in CONTENDERS if not args.only or c.name.startswith(tuple(args.only))]
    load = os.getloadavg()[0]
    print(f"{versions()}; {os.cpu_count()} cores, load average {load:.0f} before")
    steps = {"sink": to_sink, "store": to_store, "lines": over_lines, "home": from_home}
    for part in args.parts:
        with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
            steps[part](Path(name), chosen, args)


if __name__ == "__main__":
    main()

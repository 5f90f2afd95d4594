"""What renditions cost: CPU, time and quality, ours beside one ffmpeg run an output and MediaCMS's recipe.

    make bench-media         or: python -m bench.media [recipes] [stack] [workers] [--rounds 3] [--short]

`recipes`: a minute of 1080p that browsers play as it is (H.264, AAC), the same as a phone writes it (HEVC), 20 s of 4K
HEVC, and 1 GB of 50 Mbit/s H.264, each through the recipes of bench/recipes.py in turn; CPU-seconds are those of all
processes, memory that of the largest. VMAF is measured against the source at each rendition's own size, over every tenth
frame of the first minute; where the bits of (a) are not ours, (a) is made once more with ours. `stack`: the same files
through `rushes up`: what is readable when after the last byte. `workers`: two minutes of HEVC, encoded in four spans by one,
two and as many workers as there are cores, one thread each.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.processes import program
from bench.recipes import FFMPEG, HEIGHTS, one, run
from scripts.make_clip import make_clip
from tests.e2e.equipment import Site, site

RECIPES = ("ours", "each", "mediacms")
SAME_BITS = 0.05
# What is looked at first, by its name's beginning, and the seconds after the last byte that we mean to need.
SEEN: dict[str, tuple[str, float]] = {
    "metadata": ("", 2),
    "poster": ("poster", 2),
    "playable": ("hls-", 0),
    "thumbnails": ("sprite", 10),
    "360p": ("hls-360p", 10),
    "720p": ("hls-720p", 20),
}
WORDS = {"ours": "rushes", "each": "(a) one ffmpeg run an output", "mediacms": "(b) MediaCMS's recipe"}


@dataclass(frozen=True)
class Cost:
    wall: float  # seconds
    cpu: float
    memory: float  # MiB of the largest process


@dataclass(frozen=True)
class Picture:
    height: int
    kbits: float  # per second
    vmaf: float


def sources(folder: Path, short: bool) -> dict[str, Path]:
    """The films by what they are called in the table."""
    minute, little = (12, 5) if short else (60, 20)
    web, phone, uhd, large = (folder / name for name in ("web.mp4", "phone.mov", "uhd.mov", "large.mp4"))
    make_clip(web, seconds=minute, megabytes=minute)
    hevc = (
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-tag:v",
        "hvc1",
        "-x265-params",
        "log-level=error",
        "-c:a",
        "copy",
    )
    subprocess.run(run(web, *hevc, "-b:v", "10M", phone), check=True)
    grain = "scale=3840:2160:flags=lanczos,noise=alls=6:allf=t"
    subprocess.run(run(web, "-t", str(little), "-vf", grain, *hevc, "-b:v", "40M", uhd), check=True)
    if short:
        return {"1080p, web-safe": web, "1080p, HEVC": phone, "4K, HEVC": uhd}
    make_clip(large, seconds=160, megabytes=1000)
    return {
        f"{minute} s 1080p, web-safe": web,
        f"{minute} s 1080p, HEVC": phone,
        f"{little} s 4K, HEVC": uhd,
        "1 GB 1080p": large,
    }


def measured(recipe: str, source: Path, folder: Path) -> Cost:
    """One run of a recipe into an empty folder; CPU of it and of all that it waited for."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "bench.recipes", recipe, source, folder])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{recipe} failed on {source.name}")
    return Cost(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def pictures(source: Path, folder: Path) -> list[Picture]:
    found = []
    for height in HEIGHTS:
        name = next(name for name in (f"hls-{height}p.mp4", f"{height}.mp4") if (folder / name).exists())
        found.append(Picture(height, _kbits(folder / name), vmaf(folder / name, source)))
    return found


def _kbits(path: Path) -> float:
    said = subprocess.run(
        [FFMPEG, "-i", path, "-map", "0:v", "-c", "copy", "-f", "null", "-"], capture_output=True, check=True
    )
    text = said.stderr.decode()
    seconds = [int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in re.findall(r"time=(\d+):(\d+):([\d.]+)", text)]
    kib = re.findall(r"video:(\d+)KiB", text)
    return int(kib[-1]) * 8.192 / seconds[-1]


def vmaf(made: Path, source: Path) -> float:
    """Mean VMAF (model 0.6.1) of every tenth frame of the first minute, the source scaled to the rendition's size."""
    judge = "libvmaf=n_threads=4:n_subsample=10:log_fmt=json:log_path=/dev/stdout"
    graph = f"[1:v][0:v]scale=rw:rh:flags=bicubic[ref];[0:v][ref]{judge}"
    command = [FFMPEG, "-loglevel", "error", "-i", made, "-i", source, "-lavfi", graph, "-t", "60", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, check=True)
    return float(json.loads(said.stdout)["pooled_metrics"]["vmaf"]["mean"])


def recipes(films: dict[str, Path], folder: Path, rounds: int) -> None:
    heads = " | ".join(f"{height}p: kbit/s, VMAF" for height in HEIGHTS)
    print(f"| source | recipe | CPU-s | of (a) | goal | wall, s | MiB | {heads} |")
    print("|---|---|---|---|---|---|---|" + "---|" * len(HEIGHTS))
    for film, source in films.items():
        costs: dict[str, list[Cost]] = {recipe: [] for recipe in RECIPES}
        quality: dict[str, list[Picture]] = {}
        for number in range(rounds if "s 1080p" in film else 1):
            for recipe in RECIPES if not number else RECIPES[:2]:  # (b) once
                with tempfile.TemporaryDirectory(dir=folder) as name:
                    Path(name).chmod(0o711)
                    costs[recipe].append(measured(recipe, source, Path(name)))
                    if not number:
                        quality[recipe] = pictures(source, Path(name))
        usual = statistics.median(cost.cpu for cost in costs["each"])
        for recipe in RECIPES:
            cpu, wall = (statistics.median(getattr(cost, field) for cost in costs[recipe]) for field in ("cpu", "wall"))
            memory = max(cost.memory for cost in costs[recipe])
            seen = " | ".join(f"{picture.kbits:,.0f}, {picture.vmaf:.1f}" for picture in quality[recipe])
            goal = _verdict(cpu / usual, 0.6 if "HEVC" in film else 0.35) if recipe == "ours" else ""
            print(
                f"| {film} | {WORDS[recipe]} | {cpu:.1f} | {cpu / usual:.2f} | {goal} | {wall:.1f} | {memory:.0f} | {seen} |"
            )
        even = " | ".join(
            _at_our_bits(source, folder, *both) for both in zip(quality["ours"], quality["each"], strict=True)
        )
        print(f"| {film} | (a) with our bits |  |  |  |  |  | {even} |", flush=True)


def _at_our_bits(source: Path, folder: Path, ours: Picture, each: Picture) -> str:
    """What (a) makes of as many bits; nothing where they are as many already, or the source's own."""
    if abs(ours.kbits / each.kbits - 1) <= SAME_BITS:
        return "as many"
    if abs(ours.kbits / _kbits(source) - 1) <= SAME_BITS:
        return "copied"
    made = folder / "even.mp4"
    subprocess.run(one(source, ours.height, made, ours.kbits), check=True)
    return f"{_kbits(made):,.0f}, {vmaf(made, source):.1f}"


def _verdict(found: float, goal: float) -> str:
    return f"{goal:g}: met" if found <= goal else f"{goal:g}: **not met**"


def stack(films: dict[str, Path], folder: Path, _: int) -> None:
    """Seconds from the last byte's verification to each thing's being readable."""
    print("| source | " + " | ".join(SEEN) + " | published |\n|---|" + "---|" * (len(SEEN) + 1))
    for film, source in films.items():
        with site(folder / f"stack-{source.stem}", log_level="warning") as running:
            asset = _published(running, source)
            begun = "SELECT created_at FROM jobs WHERE id = (SELECT job_id FROM assets WHERE id = %s)"
            ((ingested,),) = running.rows(begun, asset)
            ended = (
                "SELECT type, extract(epoch FROM finished_at - %s)::float FROM jobs WHERE asset_id = %s AND number = 0"
            )
            jobs = dict(running.rows(ended, ingested, asset))
            stored = (
                "SELECT name, extract(epoch FROM created_at - %s)::float FROM renditions WHERE asset_id = %s ORDER BY 2"
            )
            made = running.rows(stored, ingested, asset)
        figures = [_seconds(jobs["identify"], 2)]
        for kind, goal in SEEN.values():
            if kind:
                figures.append(_seconds(_first(made, kind), goal if "0p" not in kind or "s 1080p" in film else 0))
        figures.append(_seconds(jobs["process"], 120 if "1 GB" in film else 0))
        print(f"| {film} | " + " | ".join(figures) + " |", flush=True)


def _seconds(found: object, goal: float) -> str:
    """A time with its goal; 0 is none."""
    assert isinstance(found, float)
    return f"{found:.1f}" + (f" ({_verdict(found, goal)})" if goal else "")


def _published(running: Site, source: Path) -> str:
    uploaded = running.client.upload(source)
    running.client.wait(uploaded.asset_id)
    return str(uploaded.asset_id)


def _first(made: list[tuple[object, ...]], kind: str) -> float:
    """When the first picture or file whose name begins so was there; sounds are not pictures."""
    found = (seconds for name, seconds in made if str(name).startswith(kind) and "audio" not in str(name))
    return float(next(found, math.nan))  # type: ignore[arg-type]


def workers(films: dict[str, Path], folder: Path, _: int) -> None:
    """Two minutes at 720p and 360p, encoded in four spans by more and more workers of one thread each."""
    source = folder / "long.mov"
    phone = next(path for path in films.values() if path.name == "phone.mov")
    joined = folder / "long.txt"
    joined.write_text(f"file '{phone}'\n" * 2)
    subprocess.run(
        [FFMPEG, "-y", "-loglevel", "error", "-f", "concat", "-safe", "0", "-i", joined, "-c", "copy", source],
        check=True,
    )
    print("| workers | encoded after, s | times as fast |\n|---|---|---|")
    alone = 0.0
    for count in [n for n in (1, 2, 4, 8, 16) if n <= (os.cpu_count() or 1)]:
        options = {
            "worker_jobs": 1,
            "worker_threads": 1,
            "video_span_seconds": 30,
            "video_tallest": 720,
            "log_level": "warning",
        }
        with site(folder / f"workers-{count}", **options) as running, ExitStack() as others:
            for number in range(1, count):
                argv = [sys.executable, "-m", "rushes", "worker"]
                others.enter_context(program(argv, running.running.environment, folder / f"worker-{number}.log"))
            asset = _published(running, source)
            took = """SELECT extract(epoch FROM max(finished_at) - min(started_at))::float FROM jobs
                WHERE asset_id = %s AND type IN ('encode', 'join')"""
            ((seconds,),) = running.rows(took, asset)
        alone = alone or float(seconds)  # type: ignore[arg-type]
        print(f"| {count} | {seconds:.1f} | {alone / float(seconds):.2f} |", flush=True)  # type: ignore[arg-type]


PARTS: dict[str, Callable[[dict[str, Path], Path, int], None]] = {
    "recipes": recipes,
    "stack": stack,
    "workers": workers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes, to try the bench itself")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rushes-media-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        films = sources(folder, wanted.short)
        for part in wanted.parts:
            PARTS[part](films, folder, wanted.rounds)


if __name__ == "__main__":
    main()

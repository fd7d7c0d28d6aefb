"""Whole builds on a full disk, in a bucket, and in a bucket that fails now and then."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sharding import storage
from sharding.building import build
from sharding.building.settings import Settings
from sharding.building.tasks import Part
from sharding.building.verify import verify
from sharding.format import manifest
from sharding.format.shard import unpack
from sharding.format.sidecar import load_sidecar
from tests.faults import Fault, Request, fault_proxy
from tests.stores import fresh_clients
from tests.unit.sharding.videos import tree, write_set

SETTINGS = Settings(short_side=32, samples_per_shard=3)


def request(folder: Path, out: str, **changes: object) -> build.Request:
    wanted: dict[str, object] = {
        "dataset": "sthv2",
        "annotations": folder / "annotations",
        "videos": folder / "videos",
        "out": out,
        "settings": SETTINGS,
        "splits": ["train"],
    }
    return build.Request(**(wanted | changes))  # type: ignore[arg-type]


def limited(bytes_: int) -> None:
    """No file of this process and its children may grow larger; writing on is an error, not a signal."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))


@pytest.mark.parametrize("bytes_", [1, 500, 3000, 12_000])
def test_no_room_for_a_file_is_one_line_and_publishes_nothing_half(tmp_path: Path, bytes_: int) -> None:
    # From no room at all to room for sidecars but not for tars.
    folder, out = tmp_path / "set", tmp_path / "out"
    write_set(folder, train=4, validation=1, test=0)
    command = [sys.executable, "-m", "sharding.cli", "build", "--dataset", "sthv2", "--workers", "1"]
    command += ["--annotations", str(folder / "annotations"), "--videos", str(folder / "videos")]
    command += ["--out", str(out), "--short-side", "32", "--samples-per-shard", "3"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        preexec_fn=lambda: limited(bytes_),
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match(rf"error: {out}/(train/shard-00000|(train|validation)/recipe\.json)", last), last
    assert "File too large" in last
    assert {Path(name).name for name in tree(out)} <= {"recipe.json"}
    assert build.build(request(folder, str(out))).built == 2


@pytest.mark.store
def test_a_bucket_gets_the_same_bytes_and_resumes(tmp_path: Path, s3: str) -> None:
    folder = tmp_path / "set"
    write_set(folder, train=7, validation=1, test=0)
    build.build(request(folder, str(tmp_path / "local")))
    first = build.build(request(folder, s3, part=Part(0, 2)))
    assert (first.built, first.manifests) == (2, [])
    second = build.build(request(folder, s3, workers=2))
    assert (second.built, second.shards) == (1, 3)
    url = storage.join(s3, "train")
    local = tree(tmp_path / "local" / "train")
    assert {name: storage.read_bytes(storage.join(url, name)) for name in storage.list_names(url)} == local
    assert verify(url, 1).problems == {}

    made = manifest.load(url)
    row = load_sidecar(made.sidecar_url(1)).samples[1]
    with storage.open_read(made.shard_url(1), row.offset) as stream:
        meta, _ = unpack(row, stream.read(row.bytes))
    assert meta.frames == row.frames

    storage.remove(made.shard_url(2))
    damaged = bytearray(storage.read_bytes(made.shard_url(0)))
    damaged[4000] ^= 1
    storage.write_bytes(made.shard_url(0), bytes(damaged))
    assert sorted(verify(url, 1).problems) == ["shard-000000.tar", "shard-000002.tar"]
    assert build.build(request(folder, s3, repair=True)).built == 2
    assert {name: storage.read_bytes(storage.join(url, name)) for name in storage.list_names(url)} == local


@pytest.mark.store
def test_a_build_into_a_faulty_store_gives_the_same_bytes(
    tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    write_set(folder, train=7, validation=1, test=0)
    build.build(request(folder, str(tmp_path / "local")))
    chance = random.Random(0)
    met: list[Fault] = []

    def fault(_: Request) -> Fault | None:
        draw = chance.random()
        if draw < 0.3:
            met.append(Fault(status=503))
        elif draw < 0.4:
            met.append(Fault(reset_upload=2_000))
        else:
            return None
        return met[-1]

    port = int(os.environ["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])
    with fault_proxy(port, fault) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        with fresh_clients():
            build.build(request(folder, s3, workers=2))
    assert len(met) >= 3
    url = storage.join(s3, "train")
    with fresh_clients():
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        stored = {name: storage.read_bytes(storage.join(url, name)) for name in storage.list_names(url)}
    assert stored == tree(tmp_path / "local" / "train")

"""Checkpoints: complete before they are named, verified before they are used, free of code."""

import contextlib
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.run import checkpoint
from pipeline.run.checkpoint import Checkpoints, Merit
from sharding import storage
from sharding.errors import UserError


def state(step: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((64, 64), float(step))}, "config": {"run": {}}, "step": step}


def newest_state(checkpoints: Checkpoints) -> dict[str, Any]:
    found = checkpoints.newest()
    assert found is not None
    return found[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_newest_is_found_and_older_ones_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    assert checkpoints.newest() is None
    for step in (10, 20, 30):
        checkpoints.save(step, state(step))
    assert names(tmp_path) == ["latest.json", "step-00000020.pt", "step-00000030.pt"]
    newest = newest_state(Checkpoints(str(tmp_path), keep=2))
    assert newest["step"] == 30
    assert torch.equal(newest["model"]["w"], torch.full((64, 64), 30.0))


def test_the_best_is_kept_beside_the_newest(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=1)
    for step, top1 in ((10, 50.0), (20, 70.0), (30, 60.0), (40, 65.0)):
        checkpoints.save(step, state(step), Merit("top1", top1))
    assert names(tmp_path) == ["best.json", "latest.json", "step-00000020.pt", "step-00000040.pt"]
    assert checkpoint.load(str(tmp_path / "checkpoints" / "best.json"))["step"] == 20
    assert checkpoint.load(str(tmp_path))["step"] == 40
    checkpoints.save(50, state(50), Merit("top1", 80.0))
    assert names(tmp_path) == ["best.json", "latest.json", "step-00000050.pt"]


def test_saving_again_after_going_back_leaves_out_the_abandoned_steps(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=3)
    for step in (10, 20, 20):
        checkpoints.save(step, state(step))
    latest = json.loads((tmp_path / "checkpoints" / "latest.json").read_text())
    assert [entry["step"] for entry in latest["kept"]] == [20, 10]
    assert (latest["name"], latest["step"]) == ("step-00000020.pt", 20)


@pytest.mark.parametrize("damage", ["cut short", "flipped byte", "gone"])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    for step in (10, 20):
        checkpoints.save(step, state(step))
    newest = tmp_path / "checkpoints" / "step-00000020.pt"
    content = bytearray(newest.read_bytes())
    if damage == "cut short":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flipped byte":
        content[len(content) // 3] ^= 1
        newest.write_bytes(content)
    else:
        newest.unlink()
    assert newest_state(checkpoints)["step"] == 10
    assert "step-00000020.pt" in capsys.readouterr().err


def test_a_run_with_no_sound_checkpoint_does_not_start_anew_by_itself(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    checkpoints.save(10, state(10))
    (tmp_path / "checkpoints" / "step-00000010.pt").write_bytes(b"")
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        checkpoints.newest()


def test_a_checkpoint_cut_short_is_refused_by_name_without_its_sum(tmp_path: Path) -> None:
    path = tmp_path / "lone.pt"
    torch.save(state(1), path)
    content = path.read_bytes()
    for stop in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:stop])
        with pytest.raises(UserError, match=r"lone\.pt: damaged, or not a checkpoint"):
            checkpoint.load(str(path))


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "evil.pt"
    torch.save({"config": {}, "model": Code()}, path)
    with pytest.raises(UserError, match=r"evil\.pt"):
        checkpoint.load(str(path))
    path.write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(UserError, match=r"evil\.pt"):
        checkpoint.load(str(path))
    assert not (tmp_path / "executed").exists()


def test_a_write_that_fails_leaves_the_one_before_as_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    checkpoints.save(10, state(10))
    write = storage.write_bytes

    def fails_at_the_index(url: str, data: bytes) -> None:
        if url.endswith("latest.json"):
            raise UserError(f"{url}: no space left")
        write(url, data)

    monkeypatch.setattr(storage, "write_bytes", fails_at_the_index)
    with pytest.raises(UserError):
        checkpoints.save(20, state(20))
    assert newest_state(checkpoints)["step"] == 10


def test_files_that_no_index_names_are_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    checkpoints.save(10, state(10))
    left = tmp_path / "checkpoints" / "step-00000017.pt"
    left.write_bytes(b"killed before it was named")
    checkpoints.save(12, state(12))
    assert names(tmp_path) == ["latest.json", "step-00000010.pt", "step-00000012.pt"]


@pytest.mark.parametrize("content", [b"", b'{"name": "st', b"[]", b"{}"])
def test_an_index_cut_short_is_told(tmp_path: Path, content: bytes) -> None:
    Checkpoints(str(tmp_path), keep=2).save(10, state(10))
    (tmp_path / "checkpoints" / "latest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"latest\.json: (not a JSON object|names no checkpoint)"):
        checkpoint.load(str(tmp_path))


def test_no_cut_and_no_flipped_byte_goes_unnoticed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    for step in (10, 20):
        checkpoints.save(step, state(step))
    newest = tmp_path / "checkpoints/step-00000020.pt"
    whole = newest.read_bytes()
    places = random.Random(0).sample(range(len(whole)), 200)
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        for damaged in (whole[:place], bytes(flipped)):
            newest.write_bytes(damaged)
            assert newest_state(checkpoints)["step"] == 10
    newest.write_bytes(whole)
    assert newest_state(checkpoints)["step"] == 20


def test_a_lost_index_is_no_new_run(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    checkpoints.begin()
    assert checkpoints.newest() is None  # killed before its first checkpoint
    with pytest.raises(UserError, match="the run has not saved a checkpoint yet"):
        checkpoint.load(str(tmp_path))
    checkpoints.save(10, state(10))
    for content in (None, b"{}"):
        index = tmp_path / "checkpoints" / "latest.json"
        index.unlink()
        if content is not None:
            index.write_bytes(content)
        with pytest.raises(UserError) as caught:
            checkpoints.newest()
        told = str(caught.value)
        assert (
            "latest.json: missing or empty, but" in told
            and "step-00000010.pt says that a run was here" in told
        )
        assert "remove the folder to start anew" in told and "init.from=FILE.pt" in told
        index.touch()
    assert names(tmp_path) == ["latest.json", "step-00000010.pt"]


def test_a_lost_index_beside_metrics_is_no_new_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl says that a run was here"):
        Checkpoints(str(tmp_path), keep=2).newest()


def test_a_kill_between_the_first_checkpoint_and_its_index_starts_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    checkpoints.begin()
    (tmp_path / "checkpoints" / "step-00000010.pt").write_bytes(b"written, and not yet named")
    assert checkpoints.newest() is None


@pytest.mark.parametrize("killed_after", ["best.json", "step-00000020.pt"])
def test_the_best_never_dangles_after_a_kill_and_a_lower_score(
    tmp_path: Path, killed_after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is done again gives other bytes on a GPU; the best one's file is then another."""
    checkpoints = Checkpoints(str(tmp_path), keep=1)
    checkpoints.save(10, state(10), Merit("top1", 50.0))
    write = storage.write_bytes

    def killed(url: str, data: bytes) -> None:
        write(url, data)
        if url.endswith(killed_after):
            raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(20, state(20), Merit("top1", 80.0))
    monkeypatch.setattr(storage, "write_bytes", write)
    assert newest_state(checkpoints)["step"] == 10
    checkpoint.load(str(tmp_path / "checkpoints" / "best.json"))
    checkpoints.save(20, state(21), Merit("top1", 60.0))
    assert checkpoint.load(str(tmp_path / "checkpoints" / "best.json"))["step"] == 21
    checkpoints.save(30, state(30), Merit("top1", 55.0))
    assert checkpoint.load(str(tmp_path / "checkpoints" / "best.json"))["step"] == 21


@pytest.mark.parametrize("beside", [True, False], ids=["with the run's indices", "alone"])
def test_a_flipped_bit_in_a_file_that_is_named_is_found(tmp_path: Path, beside: bool) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=1)
    checkpoints.save(10, state(10))
    file = tmp_path / "checkpoints" / "step-00000010.pt"
    if not beside:
        file = file.rename(tmp_path / "mine.pt")
    assert checkpoint.load(str(file))["step"] == 10
    content = bytearray(file.read_bytes())
    for place in range(1000, len(content), len(content) // 20):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        with contextlib.suppress(checkpoint.DamagedError):
            assert torch.equal(checkpoint.load(str(file))["model"]["w"], state(10)["model"]["w"])
    middle = bytearray(content)
    middle[content.find(bytes(torch.full((4,), 10.0).numpy())) + 400] ^= 1  # a weight's
    file.write_bytes(middle)
    with pytest.raises(checkpoint.DamagedError, match=r"damaged"):
        checkpoint.load(str(file))


def test_the_newest_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(str(tmp_path), keep=2)
    checkpoints.save(10, state(10))
    checkpoints.save(20, state(20))
    read: list[str] = []
    read_bytes = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda url: read.append(url) or read_bytes(url))
    assert newest_state(checkpoints)["step"] == 20
    assert [url for url in read if url.endswith(".pt")] == [f"{tmp_path}/checkpoints/step-00000020.pt"]

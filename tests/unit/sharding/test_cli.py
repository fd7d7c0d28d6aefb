import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharding.cli import main
from tests.unit.sharding.videos import write_set


def arguments(folder: Path, *more: str) -> list[str]:
    words = ["build", "--dataset", "sthv2", "--annotations", str(folder / "annotations")]
    words += ["--videos", str(folder / "videos"), "--out", str(folder / "out"), "--workers", "1"]
    return [*words, "--short-side", "32", *more]


def test_build_verify_and_a_damaged_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, train=3, validation=1, test=1)
    assert main(arguments(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path}/out/train: 3 videos, ") and lines[0].endswith("MB, 1 shards")
    assert (
        len(lines) == 4
        and lines[3].startswith("5 videos in ")
        and "videos/s" in lines[3]
        and "0 failures" in lines[3]
    )
    assert main(["verify", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert capsys.readouterr().out.count("all as built") == 3

    tar = tmp_path / "out" / "train" / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    assert main(["verify", str(tmp_path / "out"), "--workers", "1"]) == 1
    assert "shard-000000.tar: sample" in capsys.readouterr().out
    assert main(arguments(tmp_path, "--repair")) == 0
    assert main(["verify", str(tmp_path / "out"), "--workers", "1", "--split", "train"]) == 0


def test_too_many_failures_are_an_error_after_the_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, videos = write_set(tmp_path, train=3, validation=1, test=0)
    next(videos.glob("*.webm")).write_bytes(b"")
    assert main(arguments(tmp_path)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 1 of 4 videos could not be used") and "failures.csv" in error
    assert len(list(tmp_path.glob("out/*/manifest.json"))) == 2
    assert main(arguments(tmp_path, "--max-failures", "1")) == 0
    assert main(["finalize", str(tmp_path / "out")]) == 2
    assert main(["finalize", str(tmp_path / "out"), "--max-failures", "25%"]) == 0


def test_tasks_end_with_a_hint_and_finalize_refuses_until_all_are_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path, train=3, validation=1, test=0)
    options = ["--samples-per-shard", "1", "--task-count", "2", "--task-index"]
    assert main(arguments(tmp_path, *options, "1")) == 0
    assert f"blvnet-shard finalize {tmp_path}/out" in capsys.readouterr().out
    assert main(["finalize", str(tmp_path / "out")]) == 2
    assert "shards are missing: shard-00000" in capsys.readouterr().err
    assert main(arguments(tmp_path, *options, "0")) == 0
    assert main(["finalize", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--annotations", "/nowhere"], "/nowhere: no something-something-v2-labels.json"),
        (["--videos", "/nowhere"], "/nowhere: no such folder"),
        (["--quality", "0"], "--quality 0: must be 1 to 100"),
        (["--samples-per-shard", "0"], "--samples-per-shard 0: must be at least 1"),
        (["--fps", "0"], "--fps 0.0: must be more than 0"),
        (["--max-frames", "2"], "--max-frames 2: must be at least 3"),
        (["--short-side", "4"], "--short-side 4: must be 16 to 4096"),
        (["--max-failures", "some"], "--max-failures some"),
        (["--task-index", "3"], "give --task-count"),
        (["--split", "dev"], "unknown split 'dev'"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], says: str
) -> None:
    write_set(tmp_path, train=1, validation=1, test=0)
    assert main(arguments(tmp_path, *change)) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error: ") and told.err.count("\n") == 1
    assert says in told.err


@pytest.mark.parametrize("names", [("train", "val"), ("dev",)])
def test_splits_of_any_name_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    write_set(tmp_path, train=4, validation=1, test=0)
    rows = "".join(f"{i}.webm,x,{names[i % len(names)]}\n" for i in range(1, 5))
    (tmp_path / "list.csv").write_text("path,label,split\n" + rows)
    out, last = tmp_path / "out", names[-1]
    words = ["build", "--dataset", "csv", "--annotations", str(tmp_path / "list.csv"), "--out", str(out)]
    assert main([*words, "--videos", str(tmp_path / "videos"), "--workers", "1", "--short-side", "32"]) == 0
    (out / "notes").mkdir()
    (out / last / "manifest.json").unlink()
    assert main(["finalize", str(out)]) == 0
    assert (out / last / "manifest.json").exists()
    assert main(["inspect", str(out), "--out", str(tmp_path / "page.html")]) == 0
    told = capsys.readouterr().out
    assert all(f"{out}/{name}: " in told for name in names)
    tar = out / last / "shard-000000.tar"
    tar.write_bytes(tar.read_bytes()[:-1])
    assert main(["verify", str(out), "--workers", "1"]) == 1


def test_an_empty_url_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, train=1, validation=1, test=0)
    for words in (arguments(tmp_path, "--out", ""), ["verify", ""], ["finalize", ""], ["inspect", ""]):
        assert main(words) == 2
        assert "an empty --out or URL" in capsys.readouterr().err


def test_finalize_and_verify_of_an_empty_folder_say_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("finalize", "verify"):
        assert main([command, str(tmp_path)]) == 2
        assert "no splits of a shard set in it" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "build", "estimate", "finalize", "verify", "inspect", "demo"])
def test_help_loads_nothing_heavy(command: str) -> None:
    program = (
        "import sys; from sharding.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'av', 'numpy', 'torch', 'smart_open', 'tqdm', 'simplejpeg', 'pydantic'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", program, *command.split(), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "usage: blvnet-shard" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_sigterm_is_a_clean_end(tmp_path: Path) -> None:
    write_set(tmp_path, train=12, validation=1, test=0)
    words = [sys.executable, "-m", "sharding.cli", *arguments(tmp_path, "--samples-per-shard", "1")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert "Traceback" not in error and not list(tmp_path.glob("out/*/.*"))

"""README.md and docs/: sentences are short, links and names lead somewhere, and commands do what they say.

How a block of code is marked is told in tests/documents.py.
"""

import ast
import gc
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from blvnet.zoo import ZOO
from pipeline import train
from pipeline.config import Config
from pipeline.evaluation.scores import SeveralScores
from sharding import cli
from sharding.demo import demo
from sharding.format import mjpeg
from tests import commands, documents, foreign
from tests.documents import Block, Page
from tests.unit.sharding import downloads
from tests.unit.sharding.videos import picture, write_set, write_video

ROOT = Path(__file__).parents[2]
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [documents.read(path) for path in PATHS]
NAMES = [str(path.relative_to(ROOT)) for path in PATHS]
EVERY = pytest.mark.parametrize("page", PAGES, ids=NAMES)
MOST_WORDS, MOST_LINES = 35, 200

_HOUSES = "pipeline|sharding|blvnet|launch"
_MODULE = re.compile(rf"(?<![\w/.-])(?:{_HOUSES}|benchmarks|tests)(?:\.[A-Za-z_]\w*)+")
_FILE = re.compile(rf"(?<![\w/.:-])(?:{_HOUSES}|benchmarks|tests|configs|docs)/[\w./-]*\w")
_KEY = re.compile(r"(model|data|augment|views|optim|init|run)\.([a-z_]+)(=.*)?")


@EVERY
def test_its_sentences_are_short(page: Page) -> None:
    long = [
        f"{page.path.name}:{line}: {len(sentence.split())} words: {sentence}"
        for line, sentence in page.sentences()
        if len(sentence.split()) > MOST_WORDS
    ]
    assert not long, "\n".join(long)


def test_the_readme_is_short() -> None:
    assert len(PATHS[0].read_text().splitlines()) <= MOST_LINES


@EVERY
def test_its_links_lead_to_something(page: Page) -> None:
    for link in page.links():
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page.path.name}: {link}"
        if anchor:
            assert anchor in documents.read(target).anchors, f"{page.path.name}: {link}"


def test_every_page_is_in_the_index() -> None:
    index = documents.read(ROOT / "docs" / "README.md")
    assert {link for link in index.links() if "/" not in link} >= {
        path.name for path in PATHS[1:] if path != index.path
    }


@EVERY
def test_the_modules_files_and_keys_that_it_names_exist(page: Page) -> None:
    text = page.prose + "\n".join(block.text for block in page.blocks)
    for name in _MODULE.findall(text):
        assert _is_there(name), f"{page.path.name}: {name}"
    for name in _FILE.findall(text):
        assert (ROOT / name).exists(), f"{page.path.name}: {name}"
    for code in page.code():
        if found := _KEY.fullmatch(code):
            section: Any = Config.model_fields[found[1]].annotation
            keys = {field.alias or key for key, field in section.model_fields.items()}
            assert found[2] in keys, f"{page.path.name}: {code}"


@EVERY
def test_every_block_of_commands_is_run_or_says_why_not(page: Page) -> None:
    ours = re.compile(r"\b(blvnet-\w+|torchrun|python3? -m|pip install|make \w+|sbatch)\b")
    for block in page.blocks:
        if block.language in ("sh", "python"):
            assert block.kind, f"{block}: no mark: {block.value}"
            assert block.kind != "needs" or block.value in documents.NEEDS, f"{block}: {block.value}"
            assert block.kind != "elsewhere" or (ROOT / block.value).is_file(), f"{block}: {block.value}"
        else:
            assert block.kind in ("", "file"), f"{block}: only sh and python are run"
            assert not ours.search(block.text), f"{block}: commands go into a block of sh"


@EVERY
# webdataset leaves the closing of files to the garbage collector
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_its_blocks_do_what_they_say(
    page: Page, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    filled: set[str] = set()
    names: dict[str, Any] = {"__name__": page.path.stem}
    for block in page.blocks:
        if block.kind == "file":
            name, text = block.changed()
            (tmp_path / name).write_text(text)
        elif block.kind == "run":
            if block.value not in filled:
                shutil.copytree(request.getfixturevalue(block.value), tmp_path, dirs_exist_ok=True)
                filled.add(block.value)
            if block.language == "sh":
                _run(block, tmp_path)
            else:
                code = compile("\n" * (block.line - 1) + block.text, str(page.path), "exec")
                exec(code, names)
        elif block.language == "sh":
            for command in commands.commands(block.text):
                try:
                    commands.check(command, tmp_path)
                except AssertionError as error:
                    raise AssertionError(f"{block}: {' '.join(command)}: {error}") from None
        elif block.language == "python":
            _check_imports(block)
    names.clear()
    gc.collect()  # here, where the warning is ignored


def test_the_page_on_reports_names_every_field_of_the_metrics(trained: Path) -> None:
    page = documents.read(ROOT / "docs" / "report.md")
    named = {word.strip("`") for row in page.rows for word in re.findall(r"`\w+`", row.split("|")[1])}
    lines = [json.loads(line) for line in (trained / "demo/run/metrics.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"train", "validation"}
    on_gpus = {"mfu", "gpu_memory_gb"}
    of_several_labels = {field.name for field in fields(SeveralScores)}
    assert {field for line in lines for field in line} | on_gpus | of_several_labels == named


def test_the_published_scores_are_those_of_the_models() -> None:
    rows = documents.read(ROOT / "docs" / "protocol.md").rows
    found = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]
    for model in (model for model in ZOO.values() if model.top1 is not None):
        name, version = model.name.rsplit("-", 1)
        row = next(cells for cells in found if cells[0] == name)
        assert int(row[1]) == model.num_frames
        assert float(row[2 if version == "v1" else 3]) == model.top1
        assert (float(row[4]), float(row[5])) == (model.parameters, model.gmacs)


def _run(block: Block, folder: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    alone = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PATH": path}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, f"{block}\n{block.text}\n{done.stdout}{done.stderr}"


def _check_imports(block: Block) -> None:
    """What a block of Python imports is there."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert _is_there(f"{node.module}.{alias.name}"), f"{block}: {node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert importlib.util.find_spec(alias.name), f"{block}: {alias.name}"


def _is_there(name: str) -> bool:
    """Whether `name` is a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.fixture(scope="session")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films in tars, as video2dataset leaves them."""
    folder = tmp_path_factory.mktemp("tars")
    foreign.video2dataset(folder / "films" / "train", [4, 3])
    foreign.video2dataset(folder / "films" / "validation", [3])
    return folder


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="session")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first two commands of `make demo` leave, smaller: demo/videos and demo/shards."""
    folder = tmp_path_factory.mktemp("sharded")
    demo.make(folder / "demo" / "videos", workers=1, train=12, validation=6, test=3)
    videos = f"{folder}/demo/videos"
    command = f"build --dataset sthv2 --annotations {videos} --videos {videos}/{demo.VIDEO_FOLDER}"
    small = "--short-side 64 --samples-per-shard 5 --workers 1"
    assert cli.main(f"{command} --out {folder}/demo/shards {small}".split()) == 0
    return folder


@pytest.fixture(scope="session")
def trained(sharded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and its run of an epoch in demo/run."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(sharded, folder, dirs_exist_ok=True)
    small = "data.size=32 data.short_side=32 data.workers=0 model.num_frames=4 optim.global_batch=4"
    where = "data.root=demo/shards run.folder=demo/run"
    how = "optim.epochs=1 optim.warmup_epochs=0 run.precision=fp32 run.audit=true run.log_steps=1"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train.main(f"--config demo {where} {small} {how}".split()) == 0
    return folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two classes, and a CSV of them, as somebody might have them."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "videos").mkdir()
    rows = ["path,label,split"]
    for number in range(18):
        write_video(folder / "videos" / f"{number:03}.webm", 12, (96, 64))
        split = "train" if number < 12 else "validation"
        rows.append(f"{number:03}.webm,{'opening' if number % 2 else 'closing'} a door,{split}")
    (folder / "videos.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def something(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both versions of Something-Something as their archives unpack, with a few videos."""
    folder = tmp_path_factory.mktemp("something")
    annotations, clips = write_set(folder)
    annotations.rename(folder / "labels")
    clips.rename(folder / "20bn-something-something-v2")
    (folder / "downloads").mkdir()
    downloads.zip_parts(folder / "20bn-something-something-v2", folder / "downloads")
    downloads.write_labels(folder / "labels", folder / "downloads")
    (folder / "films.csv").write_text("path,label\n1.webm,a door\n2.webm,a window\n")
    classes = ["Closing something", "Opening something"]
    version_1 = "something-something-v1"
    (folder / "labels" / f"{version_1}-labels.csv").write_text("\n".join(classes) + "\n")
    for number, split in enumerate(("train", "train", "validation", "test"), 1):
        pictures = folder / f"20bn-{version_1}" / str(number)
        pictures.mkdir(parents=True)
        for frame in range(1, 5):
            jpeg = mjpeg.encode_rgb(picture(frame, 64, 48), 90)
            (pictures / f"{frame:05}.jpg").write_bytes(jpeg)
        with (folder / "labels" / f"{version_1}-{split}.csv").open("a") as file:
            file.write(str(number) + f";{classes[number % 2]}" * (split != "test") + "\n")
    return folder

"""A hundred and more mistakes that people make, and the line that each one gives: never a traceback, never a hang."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import audit, bench, config, evaluate, export, plan, predict, report, summary, train
from sharding import cli
from tests.processes import ROOT, environment

NUMBER = "must be a number"
WHOLE = "must be a whole number"

# Typed behind the configuration `demo`.
OVERRIDES = [
    ("optim.learning_rate=1", "unknown key optim.learning_rate; did you mean optim.lr?"),
    ("optim.Lr=1", "unknown key optim.Lr; did you mean optim.lr?"),
    ("optm.lr=1", "unknown key optm.lr; did you mean optim.lr?"),
    ("lr=0.1", "unknown key lr; did you mean optim.lr?"),
    ("batch_size=8", "unknown key batch_size; there are model, data, augment, views, optim, init, run"),
    ("data.batch_size=8", "unknown key data.batch_size; there are data.root, "),
    ("data.num_workers=8", "unknown key data.num_workers; did you mean data.workers?"),
    ("run.epochs=3", "unknown key run.epochs; did you mean optim.epochs?"),
    ("model.num_classes=3", "unknown key model.num_classes; "),
    ("optim.optimizer=sgd", "unknown key optim.optimizer; there are optim.global_batch, "),
    ("run.output=x", "unknown key run.output; "),
    ("run.checkpoint_step=5", "unknown key run.checkpoint_step; did you mean run.checkpoint_steps?"),
    ("trainer.lr=1", "unknown key trainer.lr; did you mean optim.lr?"),
    ("base=paper.yaml", "unknown key base; "),
    ("optim.lr=fast", f"optim.lr: {NUMBER} > 0, not fast"),
    ("optim.lr=-1", f"optim.lr: {NUMBER} > 0, not -1"),
    ("optim.lr=0", f"optim.lr: {NUMBER} > 0, not 0"),
    ("optim.lr=.inf", f"optim.lr: {NUMBER} > 0, not Infinity"),
    ("optim.lr=.nan", f"optim.lr: {NUMBER} > 0, not NaN"),
    ("optim.lr=true", f"optim.lr: {NUMBER} > 0, not true"),
    ("optim.lr=", f"optim.lr: {NUMBER} > 0, not null"),
    ("optim.lr=[1]", f"optim.lr: {NUMBER} > 0, not [1]"),
    ("optim.lr={a: 1}", f"optim.lr: {NUMBER} > 0, not "),
    ("optim.epochs=1.5", f"optim.epochs: {WHOLE} ≥ 1, not 1.5"),
    ("optim.epochs=0", f"optim.epochs: {WHOLE} ≥ 1, not 0"),
    ("optim.epochs=ten", f"optim.epochs: {WHOLE} ≥ 1, not ten"),
    ("optim.epochs=true", f"optim.epochs: {WHOLE} ≥ 1, not true"),
    ("optim.global_batch=0", f"optim.global_batch: {WHOLE} ≥ 1, not 0"),
    ("optim.global_batch=-8", f"optim.global_batch: {WHOLE} ≥ 1, not -8"),
    ("optim.accumulate=0", f"optim.accumulate: {WHOLE} ≥ 1, not 0"),
    ("optim.warmup_epochs=-1", f"optim.warmup_epochs: {NUMBER} ≥ 0, not -1"),
    ("optim.momentum=1", f"optim.momentum: {NUMBER} ≥ 0, < 1, not 1"),
    ("optim.momentum=0", "momentum 0 has no form of Nesterov's; set optim.nesterov=false too"),
    ("optim.weight_decay=-1e-4", f"optim.weight_decay: {NUMBER} ≥ 0, not -1e-4"),
    ("optim.label_smoothing=1", f"optim.label_smoothing: {NUMBER} ≥ 0, < 1, not 1"),
    ("optim.clip_norm=none", f"optim.clip_norm: {NUMBER} > 0 or null, not none"),
    ("optim.clip_norm=0", f"optim.clip_norm: {NUMBER} > 0 or null, not 0"),
    ("optim.ema_decay=1", f"optim.ema_decay: {NUMBER} > 0, < 1 or null, not 1"),
    (
        "optim.schedule=linear",
        "optim.schedule: must be cosine, cosine_by_step, steps, multistep, plateau or constant, not linear",
    ),
    ("optim.schedule=multistep", "schedule multistep needs milestones, such as [20, 40]"),
    ("optim.milestones=[20,10]", "milestones [20, 10] must be epochs from 1 on, each later than the last"),
    ("optim.milestones=[5,5]", "milestones [5, 5] must be epochs from 1 on"),
    ("optim.milestones=[0]", "milestones [0] must be epochs from 1 on"),
    ("optim.milestones=20", "optim.milestones: must be a list of whole numbers, not 20"),
    ("optim.milestones=[1.5]", "optim.milestones: must be a list of whole numbers, not 1.5"),
    ("optim.frozen_norm=true", "optim.frozen_norm: must be none, all or all_but_first, not true"),
    ("optim.nesterov=maybe", "optim.nesterov: must be true or false, not maybe"),
    ("optim=5", "optim: must be a section with keys of its own, not 5"),
    ("model=", "model: must be a section with keys of its own, not null"),
    ("model.depth=18", "model.depth: must be 26, 50, 101 or 152, not 18"),
    ("model.num_frames=7", f"model.num_frames: {WHOLE} ≥ 2, even or 1, not 7"),
    ("model.num_frames=0", f"model.num_frames: {WHOLE} ≥ 2, even or 1, not 0"),
    ("model.alpha=3", "model.alpha: must be 1, 2, 4, 8, 16, 32 or 64, not 3"),
    ("model.beta=0", f"model.beta: {WHOLE} ≥ 1, not 0"),
    ("model.dropout=1", f"model.dropout: {NUMBER} ≥ 0, < 1, not 1"),
    ("model.in_channels=20", "model.in_channels: must be 3 or 10, not 20"),
    ("model.in_channels=flow", "model.in_channels: must be 3 or 10, not flow"),
    (
        "model.in_channels=10 augment.operations=2",
        "model.in_channels 10 is optical flow, and augment changes colours",
    ),
    ("model.in_channels=10 augment.jitter=0.2", "set augment.operations=0 and augment.jitter=0"),
    ("data.frames_per_group=0", f"data.frames_per_group: {WHOLE} ≥ 1, not 0"),
    ("data.frames_per_group=3", "data.frames_per_group 3 must divide model.num_frames 8"),
    ("data.root=", "data.root: must be a text, not null"),
    ("data.root=5", "data.root: must be a text, not 5"),
    ("data.root=''", 'data.root: must be a text, not ""'),
    ("data.train=''", 'data.train: must be a text, not ""'),
    ("data.mix=shards/v1", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not shards/v1"),
    ("data.mix=[shards/v1]", 'data.mix: must be a mapping of text to number > 0, ≤ 1000, not ["shards/v1"]'),
    ("data.mix={shards/v1: 0}", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not 0"),
    ("data.mix={shards/v1: 1e9}", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not 1e9"),
    ("data.mix={shards/v1: .nan}", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not NaN"),
    ("data.mix={shards/v1: half}", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not half"),
    ("data.mix={shards/v1: true}", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not true"),
    ("data.mix={shards/v1}", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not null"),
    ("data.mix={5: 1}", "data.mix: must be a mapping of text to number > 0, ≤ 1000, not 5"),
    ("data.mix={a: 1, a: 2}", "'data.mix={a: 1, a: 2}': the value is not valid YAML"),
    ("data.size=16", f"data.size: {WHOLE} ≥ 32, not 16"),
    ("data.size=128", "size 128 is more than short_side 64"),
    ("data.sampling=tight", "data.sampling: must be segment, reference or dense, not tight"),
    ("data.scales=0.5", "data.scales: must be a list of numbers, not 0.5"),
    ("data.scales=[]", "scales [] must be one or more shares in (0, 1]"),
    ("data.scales=[1.3]", "scales [1.3] must be one or more shares in (0, 1]"),
    ("data.scales=[big]", "data.scales: must be a list of numbers, not big"),
    ("data.flip=maybe", "data.flip: must be label, reference or none, not maybe"),
    ("data.workers=-1", f"data.workers: {WHOLE} ≥ 0, not -1"),
    ("data.workers=auto", f"data.workers: {WHOLE} ≥ 0, not auto"),
    ("data.window=0", f"data.window: {WHOLE} ≥ 1, not 0"),
    ("data.lanes=0", f"data.lanes: {WHOLE} ≥ 1 or null, not 0"),
    ("data.cache=s3://bucket/x", "cache s3://bucket/x is no folder of this machine"),
    ("data.cache_gb=0", f"data.cache_gb: {NUMBER} > 0, not 0"),
    ("data.films=keep", "data.films: must be decode or jpeg, not keep"),
    ("data.films=jpeg", "films jpeg needs a folder for the shards of JPEGs: set data.cache"),
    ("data.corrupt=skip", "data.corrupt: must be stop or replace, not skip"),
    ("data.corrupt_budget=2", f"data.corrupt_budget: {NUMBER} ≥ 0, ≤ 1, not 2"),
    ("views.crops=2", "views.crops: must be 1, 3, 5 or 10, not 2"),
    ("views.clips=0", f"views.clips: {WHOLE} ≥ 1, not 0"),
    ("views.size=big", f"views.size: {WHOLE} ≥ 32 or full or null, not big"),
    ("views.size=10", f"views.size: {WHOLE} ≥ 32 or full or null, not 10"),
    ("views.size=100", "views.size 100 is more than data.short_side 64"),
    ("views.size=full views.crops=3", "size full has one crop, not 3"),
    ("init.from=a init.reference=b", "give init.from or init.reference, not both"),
    ("init.norm_batches=5", "init.norm_batches needs the weights of init.from or init.reference"),
    ("run.folder=", "run.folder: must be a text, not null"),
    ("run.folder.name=1", "'run.folder.name=1': folder is no section"),
    ("run.seed=-1", f"run.seed: {WHOLE} ≥ 0, < 4294967296, not -1"),
    ("run.seed=99999999999999999999", f"run.seed: {WHOLE} ≥ 0, < 4294967296, not 99999999999999999999"),
    ("run.device=gpu", "run.device: must be auto or cpu, not gpu"),
    ("run.blend=triton", "run.blend: must be auto, kernel, compiled or convolution, not triton"),
    ("run.precision=int8", "run.precision: must be bf16, fp16, tf32 or fp32, not int8"),
    ("run.audit=maybe", "run.audit: must be true or false, not maybe"),
    ("run.keep=0", f"run.keep: {WHOLE} ≥ 1, not 0"),
    ("run.log_steps=0", f"run.log_steps: {WHOLE} ≥ 1, not 0"),
    ("run.checkpoint_minutes=0", f"run.checkpoint_minutes: {NUMBER} > 0 or null, not 0"),
    ("run.timeout_s=0", f"run.timeout_s: {NUMBER} > 0, not 0"),
    ("optim.lr", "'optim.lr': an override has the form key.path=value"),
    ("=5", "'=5': an override has the form key.path=value"),
    ("optim..lr=3", "'optim..lr=3': an override has the form key.path=value"),
    ("optim.lr=[1", "'optim.lr=[1': the value is not valid YAML"),
    ("optim={lr: 1, lr: 2}", "'optim={lr: 1, lr: 2}': the value is not valid YAML"),
    ("recipe=fast", "recipe: fast is none of its recipes: it has none"),
]

# What a file says, and the line.
FILES = [
    ("", "a configuration is a mapping of sections"),
    ("- a\n- list\n", "a configuration is a mapping of sections"),
    ("data: [unclosed", "not valid YAML"),
    ("data: {root: x}\n", "run: missing; give run.folder"),
    ("run: {folder: x}\n", "data: missing; give data.root"),
    ("data: {size: 224}\nrun: {folder: x}\n", "data.root: missing; give the folder or bucket URL"),
    ("data: {root: x}\nrun: {folder: x}\ndata: {root: y}\n", "data is given twice (line 3)"),
    ("base: nowhere.yaml\n", "nowhere.yaml: no such file"),
    ("base: [a]\n", "base: must be the name of a file"),
    ("base: mine.yaml\n", "base: is a file's own base"),
    ("data: {root: x}\nrun: {folder: y}\noptim: {lr: fast}\n", "mine.yaml: optim.lr: must be a number"),
    (
        "data: {root: x}\nrun: {folder: y}\nrecipes: 5\nrecipe: a\n",
        "mine.yaml: recipe: a is none of its recipes",
    ),
    ("\x80data", "not valid YAML"),
]

# A program with its words, and the line.
COMMANDS = [
    (train.main, "", "the following arguments are required: --config"),
    (
        train.main,
        "--config nowhere",
        "nowhere: no file, and no shipped configuration; these are blvnet-tam-101-",
    ),
    (train.main, "--config /nowhere/mine.yaml", "/nowhere/mine.yaml: no such file"),
    (train.main, "--config demo --lr 5", "unrecognized arguments: --lr"),
    (evaluate.main, "--checkpoint x --data y --batch 0", "argument --batch: must be at least 1"),
    (evaluate.main, "--checkpoint x --data y --batch -1", "argument --batch: must be at least 1"),
    (evaluate.main, "--checkpoint x --data y --order backwards", "argument --order: invalid choice"),
    (
        evaluate.main,
        "--checkpoint /nowhere --data y",
        "/nowhere/checkpoints/latest.json: names no checkpoint",
    ),
    (evaluate.main, "--data y", "one of the arguments --checkpoint --model is required"),
    (predict.main, "a.webm", "one of the arguments --checkpoint --model is required"),
    (evaluate.main, "--model resnet --data y", "--model resnet: needs --reference-weights"),
    (predict.main, "--model resnet a.webm", "--model resnet: needs --reference-weights"),
    (export.main, "--model a --reference-weights b --format reference --out y", "--model a: no such model"),
    (export.main, "--checkpoint x --format tflite --out y", "argument --format: invalid choice: 'tflite'"),
    (audit.main, "/nowhere", "/nowhere: no start of a run is on record"),
    (report.main, "/nowhere", "/nowhere/config.yaml: no such file"),
    (summary.main, "/nowhere", "/nowhere/config.yaml: no such file"),
    (plan.main, "--samples 0 --ranks 1", "--samples: must be at least 1"),
    (plan.main, "--samples many --ranks 1", "argument --samples: invalid int value: 'many'"),
    (bench.main, "", "the following arguments are required: what"),
    (bench.main, "loader --config demo --seconds 0", "--seconds 0: must be more than 0"),
    (config.main, "--html", "unrecognized arguments: --html"),
    (cli.main, "", "the following arguments are required: COMMAND"),
    (cli.main, "pack", "argument COMMAND: invalid choice: 'pack'"),
    (cli.main, "build --dataset sthv2", "the following arguments are required: --out"),
    (cli.main, "build --dataset sthv2 --out x", "one of the arguments --videos --archives is required"),
    (cli.main, "build --dataset sthv2 --out x --videos y", "--annotations is missing: the folder or file"),
    (cli.main, "build --dataset sthv2 --out x --videos y --archives z", "--archives: not allowed with"),
    (
        cli.main,
        "estimate --dataset sthv2",
        "the following arguments are required: --annotations, --videos",
    ),
    (
        cli.main,
        "build --dataset sthv2 --out x --archives z --input flow",
        "--archives takes films; with --input flow unpack them, and give --videos",
    ),
    (
        cli.main,
        "build --dataset csv --annotations a --out x --videos y --input image --max-frames 8",
        "--max-frames 8: a picture has one frame; leave it out with --input image",
    ),
    (
        cli.main,
        "build --dataset csv --annotations a --out x --videos y --input flow --fps 6",
        "--fps 6.0: steps of flow follow one another; leave it out with --input flow",
    ),
    (
        cli.main,
        "build --dataset csv --annotations a --out x --videos y --input flow --max-frames 6",
        "--max-frames 6: steps of flow follow one another",
    ),
    (
        cli.main,
        "build --dataset csv --annotations a --out x --videos y --store film --input flow",
        "--store film: with --input flow there are pictures, not films; leave it out",
    ),
    (
        cli.main,
        "build --dataset csv --annotations a --out x --videos y --store film --fps 6",
        "--fps 6.0: a film keeps every frame; leave it out with --store film",
    ),
    (
        cli.main,
        "build --dataset csv --annotations a --out x --videos y --jpeg-hash",
        "--jpeg-hash: shards of JPEGs have it anyway; leave it out, or add --store film",
    ),
    (
        cli.main,
        "build --dataset sthv2 --out x --videos y --input depth",
        "argument --input: invalid choice: 'depth'",
    ),
    (cli.main, "build --dataset kinetics", "argument --dataset: invalid choice: 'kinetics'"),
    (cli.main, "verify /nowhere", "/nowhere: no "),
    (cli.main, "inspect /nowhere", "/nowhere: no "),
]


def assert_one_line(printed: str, says: str) -> None:
    assert printed.startswith("error: ") and printed.count("\n") == 1, printed
    assert says in printed
    for word in ("pydantic", "validation error", "input should", "value error", "Traceback"):
        assert word not in printed


def status_of(main: object, words: list[str]) -> int:
    try:
        return main(words)  # type: ignore[operator, no-any-return]
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_there_are_a_hundred() -> None:
    assert len(OVERRIDES) + len(FILES) + len(COMMANDS) >= 130


@pytest.mark.parametrize(("typed", "says"), OVERRIDES, ids=[typed for typed, _ in OVERRIDES])
def test_an_override_that_is_wrong_is_blamed_on_the_command_line(
    typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # braces keep their blanks
    words = [typed] if "{" in typed else typed.split()
    assert train.main(["--config", "demo", *words]) == 2
    printed = capsys.readouterr().err
    assert_one_line(printed, says)
    if "'" not in says and "recipe" not in says:
        assert printed.startswith("error: command line: ")


@pytest.mark.parametrize(("content", "says"), FILES)
def test_a_file_that_is_wrong_is_named(
    tmp_path: Path, content: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content.encode("latin-1"))
    assert train.main(["--config", str(file)]) == 2
    printed = capsys.readouterr().err
    assert_one_line(printed, says)
    assert "mine.yaml" in printed or "nowhere.yaml" in printed


@pytest.mark.parametrize(
    ("main", "words", "says"), COMMANDS, ids=[f"{m.__module__} {w}" for m, w, _ in COMMANDS]
)
def test_a_command_line_that_is_wrong_is_one_line(
    main: object, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(main, words.split()) == 2
    assert_one_line(capsys.readouterr().err, says)


def test_the_home_folder_is_meant_where_a_shell_does_not_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = config.load(
        "demo", ["run.folder=~/runs/a", "data.root=~/shards", "data.cache=~/kept", "init.from=~/x.pt"]
    )
    assert loaded.run.folder == f"{tmp_path}/runs/a"
    assert (loaded.data.root, loaded.data.cache) == (f"{tmp_path}/shards", f"{tmp_path}/kept")
    assert loaded.init.from_ == f"{tmp_path}/x.pt"
    assert config.load("demo", ["run.folder=s3://bucket/~/a"]).run.folder == "s3://bucket/~/a"
    assert summary.main(["~/runs/a"]) == 2
    assert f"error: {tmp_path}/runs/a/config.yaml: no such file" in capsys.readouterr().err


def test_ctrl_c_on_a_program_is_one_line(tmp_path: Path) -> None:
    program = (
        "import signal\nfrom pipeline import report\nfrom pipeline.reporting import record\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a program in the background starts deaf to it
        "record.names = lambda urls: signal.raise_signal(signal.SIGINT)\n"
        "raise SystemExit(report.main(['x']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")

"""The rows of `benchmarks.gpu`, a kind for each process: every row is a line of JSON on stdout as soon as it is known.

    python -m benchmarks.gpu_rows KIND [ARGUMENT ...] --device cuda

Each row says what it is (`row`) and what was found, or why nothing was (`failed`).
"""

import argparse
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NEEDED = {
    "torchvision": "torchvision",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
    "smart_open": "smart_open",
    "isal": "isal",
    "simplejpeg": "simplejpeg",
    "av": "av",
    "tqdm": "tqdm",
    "tensorboard": "tensorboard",
    "turbojpeg": "turbojpeg",
    "pytest": "pytest",
    "pytest_timeout": "pytest-timeout",
    "xdist": "pytest-xdist",
    "hypothesis": "hypothesis",
    "PIL": "pillow",
    "torchcodec": "torchcodec",
    "nvidia.nvimgcodec": "nvidia-nvimgcodec-cu{cuda}",
}
"""Modules that some rows need, the program's own needs first, and the packages that hold them."""

Values = dict[str, Any]


def say(row: str, **values: Any) -> None:
    """One row."""
    print(json.dumps({"row": row, **values}), flush=True)


def guarded(row: str, work: Callable[[], Values]) -> None:
    """The row of `work`, or one that says what went wrong."""
    try:
        say(row, **work())
    except Exception as error:  # whatever it is: the next row may be sound
        kind = "out of memory" if "OutOfMemory" in type(error).__name__ else type(error).__name__
        say(row, failed=f"{kind}: {str(error).strip().partition(chr(10))[0][:200]}")


def environment(options: argparse.Namespace) -> None:
    """What this machine is, and what is missing on it."""
    import torch

    cuda = (torch.version.cuda or "12").partition(".")[0]
    missing = [package.format(cuda=cuda) for module, package in NEEDED.items() if not _is_there(module)]
    name = "CPU"
    if options.device == "cuda":
        given = torch.cuda.get_device_properties(0)
        name = f"{given.name}, {given.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    versions = {package: _version(package) for package in ("torch", "torchvision", "triton")}
    say(name, cores=len(os.sched_getaffinity(0)), **versions, to_bring=", ".join(missing) or "nothing")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # or it goes by another name, as torch's own builds of triton do
        return "?"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def tests(options: argparse.Namespace) -> None:
    """The GPU tests, counted as they go, those that fail by name."""
    # Without the options of pyproject.toml, which are those of a package that may be missing.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-v", "-rfE", "--tb=line", "--color=no"]
    command += ["-p", "no:cacheprovider", "tests/gpu"]
    wide = {**os.environ, "COLUMNS": "300"}  # for reasons in full
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=wide
    ) as running:
        assert running.stdout
        last = ""
        for line in running.stdout:
            last = line.strip() or last
            if found := re.match(r"(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)", line):
                name, outcome = found.groups()
                counts["failed" if outcome == "ERROR" else outcome.lower()] += 1
                if outcome in ("FAILED", "ERROR"):
                    say(name.rpartition("/")[2], failed="see: python -m pytest -n0 " + name)
                if sum(counts.values()) % 10 == 0:
                    say("all tests", **counts)
            elif found := re.match(r"(?:FAILED|ERROR) (\S+::.+?) - (.+)", line):  # at the end
                name, reason = found.groups()
                say(name.rpartition("/")[2], failed=reason[:200])
    say("all tests", **counts)
    if not any(counts.values()):
        say("all tests", failed=last[:200])


def step(options: argparse.Namespace) -> None:
    """Training and inference of a network: name, precision, form of the blend, eager or compiled, batch sizes."""
    import torch

    from benchmarks.training_step import Trainer, cost

    name, precision, form, how, *batches = options.arguments
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    label = f"{name} {precision} {'' if form == '-' else form + ' '}{how}"
    gmacs, parameters = cost(name, options.size)
    peak = _peak(precision) if options.device == "cuda" else None
    made: list[Trainer] = []

    def measured(row: str, batch: int) -> Values:
        if not made:
            chosen: Any = None if form == "-" else form
            made.append(Trainer(name, precision, device, options.size, chosen, how == "compiled"))
        training, peak_mib = made[0].training(batch, options.seconds)
        used = {"of_peak": f"{6e9 * gmacs * training / peak:.0%}"} if peak else {}
        values = {"training_per_s": round(training, 1), "peak_mib": round(peak_mib), **used}
        values |= {"gmacs": round(gmacs, 2), "parameters_m": round(parameters, 2)}
        say(row, **values)  # for inference a compiler begins anew, and may be cut off
        return {**values, "inference_per_s": round(made[0].inference(batch, options.seconds / 2), 1)}

    for batch in batches:
        row = f"{label}, batch {batch}"
        guarded(row, functools.partial(measured, row, int(batch)))


def _peak(precision: str) -> float | None:
    """The device's FLOP/s at most; None where that is not known, or the program's own needs are not installed."""
    import torch

    try:
        from pipeline.training.utilisation import peak_flops
    except ModuleNotFoundError:  # the first row names it, and a step needs torch alone
        return None
    return peak_flops(torch.cuda.get_device_name(), precision)


def _shards(options: argparse.Namespace) -> Path:
    """The made-up data set, which the rows share."""
    from benchmarks import made_shards

    folder = Path(options.work) / "shards"
    samples, frames, width, height = (1024, 45, 455, 256) if options.size > 64 else (32, 12, 64, 48)
    for split, count in (("train", samples), ("validation", 16)):
        if not (folder / split / "manifest.json").exists():
            made_shards.make(folder, split, count, frames, width, height)
    return folder


def decode(options: argparse.Namespace) -> None:
    """JPEGs to batches of clips: on the device by each decoder that is installed, and on one core of this machine."""
    import torch

    from benchmarks import gpu_decode
    from benchmarks.loader import BATCH, FRAMES, ORDER
    from pipeline.data.inputs import FrameDecoder
    from pipeline.data.lane_reader import LaneReader, epoch_of
    from pipeline.data.samples import checked
    from sharding.format import manifest

    torch.set_num_threads(1)
    device = torch.device(options.device)
    split = manifest.load(str(_shards(options) / "train"))
    samples = []
    for span in LaneReader(split, epoch_of(split, ORDER, 0), lane=0):
        samples.append(checked(span))
        if len(samples) == (64 if options.size > 64 else 8):
            break
    clips = gpu_decode.chosen(samples)

    def rate(make: Callable[[list[gpu_decode.Clip]], torch.Tensor]) -> Values:
        gpu_decode.rate(make, clips[:BATCH])
        rates = [gpu_decode.rate(make, clips) for _ in range(3)]
        return {"clips_per_s": round(max(rates), 1), "frames_per_s": round(FRAMES * max(rates))}

    core = FrameDecoder()
    guarded("one core: libjpeg-turbo, crops alone", lambda: rate(lambda some: gpu_decode.on_core(some, core)))
    for name, made in gpu_decode.DECODERS.items():
        on_device = functools.partial(_on_device, made, device)
        guarded(f"device: {name}, {BATCH * FRAMES} frames at once", lambda: rate(on_device()))  # noqa: B023


def _on_device(made: Callable[..., Any], device: Any) -> Callable[..., Any]:
    from benchmarks import gpu_decode

    decoder = made(device)
    return lambda some: gpu_decode.on_device(some, device, decoder)


def stream(options: argparse.Namespace) -> None:
    """Shards to trained steps by this program, with so many loader processes: clips/s, and what is waited for."""
    from blvnet import tam_op

    folder = _shards(options)
    blend = "kernel" if tam_op.AVAILABLE else "convolution"  # without a trial's time
    tiny = options.size <= 64
    name = "demo" if tiny else "blvnet-tam-50-f8x2-v2"
    for workers in options.arguments:
        run = Path(options.work) / f"run-{workers}-{os.getpid()}"
        overrides = [
            *(f"data.root={folder}", f"run.folder={run}", f"data.workers={workers}", "init.reference=null"),
            *(
                f"optim.epochs={1 if tiny else 3}",
                "run.evaluate_epochs=1000",
                "run.log_steps=4",
                "optim.warmup_epochs=0",
            ),
            *(f"optim.global_batch={8 if tiny else 64}", f"run.blend={blend}"),
            *(
                (
                    "run.device=cpu",
                    "data.size=32",
                    "data.short_side=32",
                    "model.num_frames=4",
                    "run.precision=fp32",
                )
                if tiny
                else ()
            ),
        ]
        guarded(f"{workers} loader processes", lambda: _trained(["--config", name, *overrides], run))  # noqa: B023


def _trained(arguments: list[str], run: Path) -> Values:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train", *arguments], capture_output=True, text=True, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"status {done.returncode}: {said}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    late = steps[len(steps) // 2 :]  # without the start
    return {
        "clips_per_s": round(sum(line["clips_per_s"] for line in late) / len(late), 1),
        "data_wait": f"{sum(line['data_wait'] for line in late) / len(late):.0%}",
        "run_s": round(seconds, 1),
    }


KINDS = {kind.__name__: kind for kind in (environment, tests, step, decode, stream)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_rows")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=224, help="height and width of a clip")
    parser.add_argument("--seconds", type=float, default=1.5, help="that a rate is measured for")
    parser.add_argument("--work", default=".", help="folder for shards and runs")
    options = parser.parse_args()
    KINDS[options.kind](options)


if __name__ == "__main__":
    main()

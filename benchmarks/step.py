"""Training and inference clips/s and peak memory of the network, beside a plain eager form of it.

    python -m benchmarks.step [--threads 1] [--batch 1] [--rounds 5]
    python -m benchmarks.step --peers [--threads 2] [--batch 1] [--seconds 10]

Takes the GPU where there is one (bf16 autocast, with and without torch.compile), else the CPU (float32). All sides
have the same weights and take turns in one process, so that a busy machine slows all of them alike; the table gives
medians, and the ratio to the plain form is the median of the ratios of each round. First it checks that all sides
give the same logits. Peak memory is taken with each side alone: on the CPU in a process of its own (the process's
peak beyond what it had before the model was built), on a GPU what the allocator handed out.

`--peers`: what bLVNet-TAM-50 costs beside its plain form and TSN and TSM on ResNet-50, with 8 and 16 frames, one after
another, each with a whole training step (normalisation, gradients, SGD), in elapsed time: bf16 autocast on a GPU, both
float32 and bf16 on the CPU, where each row has a process of its own.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import training_step
from benchmarks.plain_network import PlainBLVNetTAM
from blvnet import BLVNetTAM

FRAMES, CLASSES = 16, 174
PLAIN = "plain"
SIDES: dict[str, tuple[str, ...]] = {"cpu": (PLAIN, "plain, channels-last", "network")}
SIDES["cuda"] = (*SIDES["cpu"], "plain, channels-last, compiled", "network, compiled")
MODES = ("training", "inference")


def weights(depth: int) -> dict[str, Tensor]:
    """Weights for all sides; the last norms are not zero, so that every branch shows in the logits."""
    torch.manual_seed(0)
    state = BLVNetTAM(depth, FRAMES, CLASSES).state_dict()
    return {n: torch.full_like(t, 0.2) if n.endswith("expand.norm.weight") else t for n, t in state.items()}


def build(side: str, depth: int, device: str) -> nn.Module:
    model: nn.Module = (PlainBLVNetTAM if side.startswith(PLAIN) else BLVNetTAM)(depth, FRAMES, CLASSES)
    model.load_state_dict(weights(depth))
    model.to(device)
    if "channels-last" in side:
        model.to(memory_format=torch.channels_last)
    if "compiled" in side:
        model.compile()
    return model


def clips_for(side: str, batch: int, size: int, device: str) -> Tensor:
    """The same clips for all sides; the plain form takes them in contiguous memory, the others channels-last."""
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(batch, FRAMES, 3, size, size, generator=generator).to(device)
    if side == PLAIN:
        return clips
    return clips.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (batch, FRAMES))


def step(model: nn.Module, clips: Tensor, mode: str) -> None:
    """One forward pass, or one forward and backward pass (the optimiser is the same for all sides)."""
    device = clips.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        if mode == "inference":
            with torch.inference_mode():
                model(clips)
            return
        loss = F.cross_entropy(model(clips), torch.zeros(len(clips), dtype=torch.long, device=device))
    model.zero_grad(set_to_none=True)
    loss.backward()


def seconds(work: Callable[[], None], device: str) -> float:
    """Time of `work`: on the GPU the clock's, on one CPU thread the process's own (others may use the core too)."""
    if device == "cuda":
        torch.cuda.synchronize()
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def check_logits(options: argparse.Namespace) -> float:
    """The largest difference of a logit between any side and the plain form, in float32; raises beyond 1e-3."""
    worst = 0.0
    expected = None
    for side in SIDES[options.device]:
        model = build(side, options.depth, options.device).eval()
        with torch.inference_mode():
            logits = model(clips_for(side, options.batch, options.size, options.device)).float()
        if expected is None:
            expected = logits
        worst = max(worst, (logits - expected).abs().max().item() / expected.abs().max().item())
    if worst > 1e-3:
        raise SystemExit(
            f"the sides' logits differ by {worst:.1e} of the largest: they are not the same network"
        )
    return worst


def measure(options: argparse.Namespace) -> dict[tuple[str, str], list[float]]:
    """Seconds a step for each side and mode, one for each round."""
    device = options.device
    sides = {
        side: (build(side, options.depth, device), clips_for(side, options.batch, options.size, device))
        for side in SIDES[device]
    }
    taken: dict[tuple[str, str], list[float]] = {}
    for mode in MODES:
        for model, clips in sides.values():
            model.train(mode == "training")
            for _ in range(3 if device == "cuda" else 1):
                step(model, clips, mode)
        for _ in range(options.rounds):
            for side, (model, clips) in sides.items():
                taken.setdefault((side, mode), []).append(seconds(lambda: step(model, clips, mode), device))  # noqa: B023
    return taken


def peak_memory(side: str, mode: str, options: argparse.Namespace) -> float:
    """MiB that a side needs at most: weights, gradients, activations."""
    if options.device == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        model = build(side, options.depth, "cuda").train(mode == "training")
        clips = clips_for(side, options.batch, options.size, "cuda")
        step(model, clips, mode)
        torch.cuda.reset_peak_memory_stats()
        step(model, clips, mode)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    command = [sys.executable, "-m", "benchmarks.step", "--peak-of", f"{side}/{mode}"]
    for name in ("depth", "size", "batch", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_peak(side: str, mode: str, options: argparse.Namespace) -> float:
    """What this process's resident memory rises by at most in two steps of a side, MiB (Linux)."""
    clips = clips_for(side, options.batch, options.size, "cpu")
    before = resident_anew()
    model = build(side, options.depth, "cpu").train(mode == "training")
    for _ in range(2):
        step(model, clips, mode)
    return resident("VmHWM") - before


def resident_anew() -> float:
    """What is resident now, MiB; the peak starts again from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def resident(field: str) -> float:
    """A size from this process's status, MiB. (getrusage's peak would include the parent's, from before exec.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


PEERS = (
    *("blvnet-50-f4x2", "plain-50-f4x2", "tsm-50-8f", "tsn-50-8f"),
    *("blvnet-50-f8x2", "plain-50-f8x2", "tsm-50-16f", "tsn-50-16f"),
)
"""Each network beside those of as many frames."""


def print_peers(options: argparse.Namespace) -> None:
    """The table of `--peers`, each row when it is there."""
    on_gpu = options.device == "cuda"
    print(
        "| network | | GMACs | parameters, 10^6 | training clips/s | inference clips/s | training peak MiB |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for precision in ("bf16",) if on_gpu else ("fp32", "bf16"):
        for name in PEERS:
            gmacs, parameters = training_step.cost(name, options.size)
            rates = peer_rates(name, precision, options) if on_gpu else rates_alone(name, precision, options)
            print(
                f"| {name} | {precision} | {gmacs:.2f} | {parameters:.2f} | {rates.training:.2f} "
                f"| {rates.inference:.2f} | {rates.peak_mib:.0f} |",
                flush=True,
            )


def peer_rates(name: str, precision: str, options: argparse.Namespace) -> training_step.Rates:
    """In this process; on the CPU the peak is what its resident memory rises by (Linux)."""
    on_gpu = options.device == "cuda"
    before = 0.0 if on_gpu else resident_anew()
    trainer = training_step.Trainer(name, precision, torch.device(options.device), options.size)
    rates = trainer.rates(options.batch, options.seconds)
    return rates if on_gpu else rates._replace(peak_mib=resident("VmHWM") - before)


def rates_alone(name: str, precision: str, options: argparse.Namespace) -> training_step.Rates:
    """In a process of its own, so that no other network's memory is in the peak."""
    command = [sys.executable, "-m", "benchmarks.step", "--row-of", f"{name}/{precision}"]
    for option in ("size", "batch", "threads", "seconds"):
        command += [f"--{option}", str(getattr(options, option))]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return training_step.Rates(*map(float, said.split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, help="clips a step (1 on the CPU, 16 on a GPU)")
    parser.add_argument("--rounds", type=int, help="measured steps of each side (5 on the CPU, 30 on a GPU)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--peers", action="store_true", help="beside TSN and TSM too")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each network with --peers")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("--row-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.device = "cuda" if torch.cuda.is_available() else "cpu"
    options.batch = options.batch or (16 if options.device == "cuda" else 1)
    options.rounds = options.rounds or (30 if options.device == "cuda" else 5)
    torch.set_num_threads(options.threads)
    if options.peak_of:
        side, mode = options.peak_of.split("/")
        print(own_peak(side, mode, options))
        return
    if options.row_of:
        network, precision = options.row_of.split("/")
        print(*peer_rates(network, precision, options))
        return
    clock = "processor time" if options.threads == 1 and not options.peers else "elapsed time"
    cpu = f"CPU, {options.threads} thread(s), {clock}"
    name = torch.cuda.get_device_name() if options.device == "cuda" else cpu
    precision = "bf16 autocast" if options.device == "cuda" else "float32"
    if options.peers:
        print(f"{options.size}x{options.size}, batch {options.batch}; {name}; torch {torch.__version__}\n")
        print_peers(options)
        return
    print(
        f"depth {options.depth}, f{FRAMES // 2}x2, {options.size}x{options.size}, batch {options.batch}, ",
        end="",
    )
    print(f"{precision}; {name}; torch {torch.__version__}; medians of {options.rounds} rounds")
    print(
        f"largest difference of logits between the sides: {check_logits(options):.1e} of the largest logit\n"
    )
    peaks = {
        (side, mode): peak_memory(side, mode, options) for mode in MODES for side in SIDES[options.device]
    }
    taken = measure(options)
    print("| | side | clips/s | times the plain form (range) | peak MiB | of the plain form's |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for mode in MODES:
        for side in SIDES[options.device]:
            ratios = [p / s for p, s in zip(taken[PLAIN, mode], taken[side, mode], strict=True)]
            print(
                f"| {mode} | {side} | {options.batch / median(taken[side, mode]):.2f} "
                f"| {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                f"| {peaks[side, mode]:.0f} | {peaks[side, mode] / peaks[PLAIN, mode]:.2f} |"
            )


if __name__ == "__main__":
    main()

"""The kernels of the temporal aggregation, without a GPU: interpreted, compiled and counted; and who uses them."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from blvnet import BLVNetTAM, create_model, tam_choice, tam_op
from blvnet.tam import FORMS, Form, TemporalAggregation, form_for
from tests.conftest import need
from tests.kernels import Calls
from tests.traffic import Traffic, kernel_bytes

ROOT = Path(__file__).parents[3]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(900)
def test_the_interpreted_kernels_keep_their_promises() -> None:
    need(tam_op.AVAILABLE, "triton, or the compiler that it calls, is not installed")
    file = "tests/unit/blvnet/interpreted_kernel.py"
    done = python("-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", file, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


COMPILES = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from blvnet import tam_kernel
for capability in (80, 90):
    for kernel in (tam_kernel.blend_forward, tam_kernel.blend_backward):
        for streams, paired in ((1, False), (2, False), (2, True)):
            constants = dict(FRAMES=8, TAPS=3, STREAMS=streams, PAIRED=paired, ROWS=16, COLUMNS=64)
            kinds = {"weight": "*fp32", "weight_sums": "*fp32", "pixels": "i32", "channels": "i32"}
            kinds |= dict.fromkeys(constants, "constexpr")
            signature = {name: kinds.get(name, "*bf16") for name in kernel.arg_names}
            source = ASTSource(kernel, signature, constexprs=constants)
            binary = triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
            assert len(binary) > 1000
print("compiled")
"""


def test_the_kernels_compile_for_gpus(tmp_path: Path) -> None:
    need(tam_op.AVAILABLE, "triton, or the compiler that it calls, is not installed")
    done = python("-c", COMPILES, TRITON_CACHE_DIR=str(tmp_path))
    assert done.stdout == "compiled\n", done.stderr


def test_importing_the_network_needs_no_triton_and_runs_without() -> None:
    program = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, blvnet\n"
        "print(blvnet.BLVNetTAM(26, 4, 5)(torch.zeros(1, 4, 3, 32, 32)).shape)"
    )
    done = python("-c", program)
    assert done.stdout == "torch.Size([1, 5])\n", done.stderr


class OnGpu:
    """What `form_for` looks at."""

    device = torch.device("cuda", 0)
    dtype = torch.bfloat16


def test_who_blends_how(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu: Tensor = OnGpu()  # type: ignore[assignment]
    monkeypatch.setattr(tam_op, "AVAILABLE", True)
    assert [form_for(on_gpu, wanted) for wanted in (None, *FORMS)] == ["kernel", *FORMS]
    assert form_for(torch.zeros(1), "kernel") == "convolution"
    assert form_for(torch.zeros(1, device="meta"), "kernel") == "sum"
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert form_for(torch.zeros(1), "kernel") == "sum"
    assert form_for(on_gpu, None) == "kernel"
    monkeypatch.setattr(tam_op, "AVAILABLE", False)
    assert form_for(on_gpu, "kernel") == "sum"
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert form_for(on_gpu, "convolution") == "sum"


def test_on_a_gpu_every_blend_of_the_network_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tam_op, "AVAILABLE", True)
    model = BLVNetTAM(26, 4, 5).to(torch.bfloat16)
    real = model.state_dict()
    with FakeTensorMode():  # of a GPU that is not there
        state = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
            for name, tensor in real.items()
        }
        clips = torch.empty(2, 4, 3, 64, 64, dtype=torch.bfloat16, device="cuda")
        with Calls() as calls, torch.no_grad():
            logits = torch.func.functional_call(model, state, (clips,))
    assert logits.device.type == "cuda" and logits.shape == (2, 5)
    assert calls.names["tam_split"] == 4 and calls.names["tam_blend"] == 2
    assert not {"constant_pad_nd", "addcmul"} & set(+calls.names)


def test_an_exported_network_needs_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def as_on_a_gpu(x: Tensor, wanted: Form | None) -> Form:
        seen.add(form_for(OnGpu(), "kernel"))  # type: ignore[arg-type]
        return form_for(x, wanted)

    monkeypatch.setattr(tam_op, "AVAILABLE", True)
    monkeypatch.setattr("blvnet.tam.form_for", as_on_a_gpu)
    program = torch.export.export(BLVNetTAM(26, 2, 5).eval(), (torch.zeros(2, 2, 3, 32, 32),))
    assert seen == {"sum"}
    assert not [node for node in program.graph.nodes if "blvnet" in str(node.target)]


def test_the_fastest_form_that_works_is_chosen() -> None:
    times: dict[Form, float] = {"kernel": 2.0, "compiled": 1.0, "convolution": 1.0}
    assert tam_choice.fastest(times.__getitem__) == ("compiled", times)
    del times["compiled"]  # raises, as a missing compiler does
    assert tam_choice.fastest(times.__getitem__) == ("convolution", times)
    assert tam_choice.fastest({}.__getitem__) == ("sum", {})


def test_a_trial_runs_every_blend_of_a_step_and_leaves_the_model_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = BLVNetTAM(26, 4, 5)
    tam_choice.set_form(model, "convolution")
    seen = set()

    def noted(x: Tensor, wanted: Form | None) -> Form:
        seen.add((wanted, *x.shape))
        return "convolution"

    monkeypatch.setattr("blvnet.tam.form_for", noted)
    monkeypatch.setattr(tam_choice, "form_for", lambda x, wanted: wanted)
    model(torch.zeros(1, 4, 3, 36, 36))
    real = {entry[1:] for entry in seen}
    seen.clear()
    taken = tam_choice.trial(model, 1, 36, torch.float32, nullcontext)("kernel")
    assert taken > 0 and {entry[1:] for entry in seen} == real and {entry[0] for entry in seen} == {"kernel"}
    assert all(m.form == "convolution" for m in model.modules() if isinstance(m, TemporalAggregation))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_form_that_is_not_to_be_had_takes_no_part_in_a_trial() -> None:
    seconds = tam_choice.trial(BLVNetTAM(26, 2, 5), 1, 32, torch.float32, nullcontext)
    form, taken = tam_choice.fastest(seconds)  # on the CPU the convolution blends, whatever is asked for
    assert form == "convolution" and taken.keys() == {"convolution"}


def step_bytes(form: Form, name: str, clips: int) -> tuple[int, int]:
    """What all blends of a training step in bf16 move, forward and backward; and the least that would do."""
    model = create_model(name).to(torch.bfloat16)
    moved = least = 0
    for tam, blend, side, frames in model.backbone.aggregations(224, model.num_frames):
        channels = tam.weight.shape[0]
        with torch.device("meta"):
            x = torch.empty(clips * frames, channels, side, side, dtype=torch.bfloat16)
            x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        tam.to("meta")
        apart, paired = blend != tam, blend == tam.split_pairs
        sizes = frames * 2 if paired else frames, 2 if apart else 1, paired
        forward, backward, needed = kernel_bytes(x, tam.weight, *sizes)
        least += needed
        if form == "kernel":
            moved += forward + backward
            continue
        with pytest.MonkeyPatch.context() as patch, Traffic() as traffic:
            patch.setattr("blvnet.tam.form_for", lambda x, wanted: form)
            outs = blend(x, frames)
            outs = (outs,) if isinstance(outs, Tensor) else outs
            torch.autograd.backward(outs, [torch.empty_like(out) for out in outs])
        moved += traffic.bytes
    return moved, least


@pytest.mark.parametrize("name", ["blvnet-tam-50-f8x2-v2", "blvnet-tam-101-f32x2-v2"])
def test_the_kernels_move_hardly_more_than_the_least(name: str) -> None:
    moved, least = step_bytes("kernel", name, clips=8)
    assert moved <= 1.5 * least
    # What they are there for: a sum that no compiler fuses, and the convolution.
    assert step_bytes("sum", name, clips=8)[0] > 4 * moved
    assert step_bytes("convolution", name, clips=8)[0] > moved

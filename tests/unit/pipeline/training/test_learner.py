"""The training step: what a checkpoint keeps of it is all that its future depends on, in every precision."""

import io
import math

import pytest
import torch
from torch import nn

from pipeline import config
from pipeline.config import Config
from pipeline.data.batch import Mixed
from pipeline.ranks.distributed import World
from pipeline.run.checkpoint import weights_of
from pipeline.training.learner import Learner
from pipeline.training.network import build_model
from pipeline.training.normalise import Normaliser
from sharding.errors import UserError

CPU = World(0, 1, torch.device("cpu"))


def settings(*overrides: str) -> Config:
    tree = {"data": {"root": "x", "size": 32, "short_side": 32}, "run": {"folder": "x"}}
    return config.override(tree, ["model.depth=26", "model.num_frames=2", *overrides], "test")


def learner(settings: Config) -> Learner:
    torch.manual_seed(0)
    return Learner(build_model(settings, num_classes=5), settings, CPU)


def train(learner: Learner, steps: range, batch: int = 3, lr: float = 0.01) -> list[float]:
    """Losses of these steps, each on its own clips."""
    losses = []
    for step in steps:
        rng = torch.Generator().manual_seed(step)
        clips = torch.randint(0, 256, (batch, 2, 3, 32, 32), dtype=torch.uint8, generator=rng)
        labels = torch.randint(0, 5, (batch,), generator=rng)
        loss = learner.step(clips, labels, step, lr).loss
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_restored_learner_goes_on_bit_for_bit(precision: str) -> None:
    chosen = settings(f"run.precision={precision}")
    whole, first, second = learner(chosen), learner(chosen), learner(chosen)
    losses = train(whole, range(4))
    assert all(map(math.isfinite, losses)) or precision == "fp16"  # whose first steps seek the loss scale
    assert train(first, range(2)) == pytest.approx(losses[:2], rel=0, abs=0, nan_ok=True)
    saved = io.BytesIO()
    torch.save(first.state(), saved)
    saved.seek(0)
    second.restore(torch.load(saved, weights_only=True), "saved.pt")
    assert train(second, range(2, 4)) == pytest.approx(losses[2:], rel=0, abs=0, nan_ok=True)
    ended, expected = second.state(), whole.state()
    assert ended["scaler"] == expected["scaler"]
    assert bool(ended["scaler"]) == (precision == "fp16")
    assert all(torch.equal(tensor, expected["model"][name]) for name, tensor in ended["model"].items())


def test_momenta_lie_in_memory_as_the_weights_do_however_they_came() -> None:
    """A fused optimiser takes no others; another rank gets them from the main process without their order."""
    first, second = learner(settings()), learner(settings())
    train(first, range(1))
    state = first.state()
    for kept in state["optimizer"]["state"].values():
        kept["momentum_buffer"] = kept["momentum_buffer"].contiguous()
    second.restore(state, "saved.pt")
    kept = second._optimizer.state
    assert kept and all(kept[p]["momentum_buffer"].stride() == p.stride() for p in kept)
    assert train(second, range(1, 3)) == train(first, range(1, 3))


OPTIONS = [
    ("optim.accumulate=2", "model.dropout=0.5"),
    ("optim.clip_norm=0.1",),
    ("optim.ema_decay=0.9",),
    ("optim.schedule=plateau", "optim.patience=1"),
    ("optim.decay_norms=false", "optim.label_smoothing=0.1"),
    ("optim.frozen_norm=all_but_first",),
    ("optim.classifier_lr=5", "optim.unbiased_norm=false"),
    ("optim.schedule=cosine_by_step", "optim.lr_end=0.1", "optim.warmup_epochs=2"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options[0])
def test_every_option_goes_on_bit_for_bit(options: tuple[str, ...]) -> None:
    chosen = settings("run.precision=fp32", *options)

    def scheduled(one: Learner, epochs: range) -> list[float]:
        """An epoch of one step and an evaluation without progress, so that a plateau shows in the losses."""
        found = []
        for epoch in epochs:
            found += train(one, range(epoch, epoch + 1), batch=4, lr=one.schedule.rate(epoch, 0, 1))
            one.schedule.evaluated(score=5.0, loss=1.0)
        return found

    whole, first, second = learner(chosen), learner(chosen), learner(chosen)
    losses = scheduled(whole, range(5))
    scheduled(first, range(3))
    saved = io.BytesIO()
    torch.save(first.state(), saved)
    saved.seek(0)
    second.restore(torch.load(saved, weights_only=True), "saved.pt")
    assert scheduled(second, range(3, 5)) == losses[3:]
    ended, expected = second.state(), whole.state()
    assert ended.keys() == expected.keys()
    assert ended["schedule"] == expected["schedule"]
    for part in {"model", "ema"} & expected.keys():
        assert all(torch.equal(tensor, expected[part][name]) for name, tensor in ended[part].items())


def test_the_average_follows_the_weights_and_is_what_is_evaluated() -> None:
    one = learner(settings("run.precision=fp32", "optim.ema_decay=0.3"))
    expected = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    for step, share in enumerate([1 / 10, 2 / 11, 3 / 12, 0.3]):
        train(one, range(step, step + 1))
        for name, tensor in one.model.state_dict().items():
            counter = not tensor.is_floating_point()
            expected[name] = tensor.clone() if counter else share * expected[name] + (1 - share) * tensor
    state = one.state()
    torch.testing.assert_close(dict(one.evaluated.state_dict()), expected)
    assert weights_of(state) is state["ema"]
    assert not torch.equal(state["ema"]["classifier.weight"], state["model"]["classifier.weight"])


def test_an_average_can_be_begun_and_given_up_when_resuming() -> None:
    without, kept = learner(settings()), learner(settings("optim.ema_decay=0.9"))
    train(without, range(1))
    kept.restore(without.state(), "saved.pt")
    assert torch.equal(kept.evaluated.classifier.weight, without.model.classifier.weight)
    train(kept, range(1, 2))
    without.restore(kept.state(), "saved.pt")
    assert torch.equal(without.evaluated.classifier.weight, kept.model.classifier.weight)
    assert "ema" not in without.state()


@pytest.mark.parametrize("older", ["without a schedule", "all parameters in one group"])
def test_what_an_older_version_left_out_is_named(older: str) -> None:
    one = learner(settings())
    state = one.state()
    if older == "without a schedule":
        del state["schedule"]
        missing = "schedule"
    else:
        groups = state["optimizer"]["param_groups"]
        state["optimizer"]["param_groups"] = [
            {**groups[0], "params": [p for g in groups for p in g["params"]]}
        ]
        missing = "momenta of weights apart from"
    with pytest.raises(
        UserError, match=rf"runs/a\.pt: .* older version, without {missing}.*init\.from=runs/a\.pt"
    ):
        one.restore(state, "runs/a.pt")


def test_momenta_of_an_older_version_in_two_groups_go_on() -> None:
    whole, second = learner(settings("run.precision=fp32")), learner(settings("run.precision=fp32"))
    train(whole, range(2))
    saved = io.BytesIO()
    state = whole.state()
    groups = state["optimizer"]["param_groups"]
    halves = (groups[:2], groups[2:])
    state["optimizer"]["param_groups"] = [
        {"params": [p for group in half for p in group["params"]]} for half in halves
    ]
    assert [p for group in state["optimizer"]["param_groups"] for p in group["params"]] == list(
        range(len(list(whole.model.parameters())))
    )
    by_size = [p for vectors in (False, True) for p in whole.model.parameters() if (p.ndim == 1) == vectors]
    momenta = state["optimizer"]["state"]
    assert all(momenta[i]["momentum_buffer"].shape == p.shape for i, p in enumerate(by_size))
    torch.save(state, saved)
    saved.seek(0)
    second.restore(torch.load(saved, weights_only=True), "saved.pt")
    assert train(second, range(2, 4)) == train(whole, range(2, 4))


def test_the_classifier_has_a_rate_of_its_own() -> None:
    plain = ("optim.momentum=0", "optim.nesterov=false", "optim.weight_decay=0", "run.precision=fp32")
    moved = []
    for times in (1, 5):
        one = learner(settings(*plain, f"optim.classifier_lr={times}"))
        before = {name: p.detach().clone() for name, p in one.model.named_parameters()}
        train(one, range(1))
        moved.append({name: p.detach() - before[name] for name, p in one.model.named_parameters()})
    for name, change in moved[0].items():
        times = 5 if name.startswith("classifier.") else 1
        torch.testing.assert_close(moved[1][name], times * change, rtol=1e-3, atol=1e-6)
    assert moved[0]["classifier.bias"].abs().max() > 1e-4


def test_fp16_leaves_out_a_step_whose_gradients_overflow() -> None:
    one = learner(settings("run.precision=fp16"))
    one.restore({**one.state(), "scaler": {**one.state()["scaler"], "scale": 1e30}}, "saved.pt")
    before = {name: tensor.clone() for name, tensor in one.model.named_parameters()}
    train(one, range(1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.model.named_parameters())
    assert one.state()["scaler"]["scale"] == pytest.approx(0.5e30)


@pytest.mark.parametrize("frozen", ["none", "all", "all_but_first"])
def test_frozen_norms_keep_their_statistics_and_still_learn_their_scales(frozen: str) -> None:
    one = learner(settings(f"optim.frozen_norm={frozen}"))
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    train(one, range(2))
    after = one.model.state_dict()
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    statistics = {name for name in before if "running" in name}
    first = {f"backbone.stem.frames.norm.running_{moment}" for moment in ("mean", "var")}
    assert changed & statistics == {"none": statistics, "all": set(), "all_but_first": first}[frozen]
    assert {"classifier.weight", "backbone.stages.0.fusion.expand.norm.weight"} <= changed


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_accumulated_parts_train_like_the_whole_batch(parts: int) -> None:
    common = ("optim.global_batch=4", "optim.frozen_norm=all", "run.precision=fp32", "model.dropout=0.0")
    more = ("optim.label_smoothing=0.1", "optim.clip_norm=0.5")
    whole = learner(settings(*common, *more))
    cut = learner(settings(*common, *more, f"optim.accumulate={parts}"))
    assert train(cut, range(3), batch=4) == pytest.approx(train(whole, range(3), batch=4), abs=1e-5)
    for name, tensor in cut.model.state_dict().items():
        torch.testing.assert_close(tensor, whole.model.state_dict()[name], rtol=0, atol=1e-5)


def test_more_parts_than_clips_are_a_mistake() -> None:
    with pytest.raises(UserError, match=r"optim\.accumulate: the 4 clips .* in 5 parts"):
        learner(settings("optim.global_batch=4", "optim.accumulate=5"))


def test_norms_cannot_be_synchronised_on_the_cpu() -> None:
    chosen = settings("optim.sync_norm=true")
    with pytest.raises(UserError, match=r"optim\.sync_norm: .* on GPUs only"):
        Learner(build_model(chosen, num_classes=5), chosen, World(0, 2, torch.device("cpu")))
    train(learner(chosen), range(1))  # one process has all clips anyway


@pytest.mark.parametrize("sync", [True, False])
def test_every_norm_is_synchronised_on_request(monkeypatch: pytest.MonkeyPatch, sync: bool) -> None:
    """The network's structure alone: torch's synchronised norms compute on GPUs only."""
    monkeypatch.setattr("pipeline.training.learner._data_parallel", lambda model, device, static: model)
    chosen = settings(f"optim.sync_norm={str(sync).lower()}", "optim.ema_decay=0.9")
    plain = build_model(chosen, num_classes=5)
    norms = [name for name, module in plain.named_modules() if isinstance(module, nn.BatchNorm2d)]
    one = Learner(build_model(chosen, num_classes=5), chosen, World(0, 2, torch.device("meta")))
    kind = nn.SyncBatchNorm if sync else nn.BatchNorm2d
    for model in (one.model, one.evaluated):
        assert [name for name, module in model.named_modules() if isinstance(module, kind)] == norms
        assert list(model.state_dict()) == list(plain.state_dict())
    trained = {id(p) for group in one._optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in one.model.parameters()}  # no norm's of before


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_clipping_bounds_what_a_step_changes(precision: str) -> None:
    plain = ("optim.momentum=0", "optim.nesterov=false", "optim.weight_decay=0", f"run.precision={precision}")
    for limit, largest in ((1e-3, 1.01e-5), (1e6, math.inf)):
        one = learner(settings(*plain, f"optim.clip_norm={limit}"))
        if precision == "fp16":
            one.restore({**one.state(), "scaler": {**one.state()["scaler"], "scale": 256.0}}, "saved.pt")
        before = [p.detach().clone() for p in one.model.parameters()]
        train(one, range(1))
        moved = [new.detach() - old for new, old in zip(one.model.parameters(), before, strict=True)]
        norm = torch.cat([m.flatten() for m in moved]).norm().item()
        assert 0.9e-5 < norm < largest


def test_label_smoothing_spreads_the_label() -> None:
    loss, smoothed = (
        train(learner(settings("run.precision=fp32", f"optim.label_smoothing={share}")), range(1))[0]
        for share in (0.0, 0.5)
    )
    assert loss != smoothed


def blended(step: int, parts: int = 1) -> tuple[Learner, torch.Tensor, torch.Tensor, Mixed, float]:
    """A step on four blended clips: the learner, what it trained on, and its loss."""
    frozen = ("run.precision=fp32", "optim.frozen_norm=all", "model.dropout=0.0", "optim.global_batch=4")
    one = learner(settings(*frozen, "optim.label_smoothing=0.1", f"optim.accumulate={parts}"))
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (4, 2, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.tensor([0, 1, 2, 3])
    mixed = Mixed(torch.tensor([2, 3, 0, 1]), torch.tensor([0.5, 0.1, 0.5, 0.1]))
    loss = 0.0
    for number in range(step + 1):
        loss = one.step(clips, labels, number, 0.01, mixed).loss.item()
    return one, clips, labels, mixed, loss


def test_the_loss_of_blended_clips_is_that_of_soft_labels() -> None:
    _, clips, labels, mixed, loss = blended(0)
    fresh = learner(settings("run.precision=fp32", "optim.frozen_norm=all", "model.dropout=0.0"))
    with torch.no_grad():
        logits = fresh.model.eval()(Normaliser(CPU.device)(clips))
    soft = torch.zeros(4, 5)
    for i in range(4):
        soft[i, labels[i]] += 1 - mixed.shares[i]
        soft[i, mixed.labels[i]] += mixed.shares[i]
    expected = nn.functional.cross_entropy(logits, soft, label_smoothing=0.1)
    assert loss == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("parts", [2, 3])
def test_blended_clips_in_parts_train_like_the_whole_batch(parts: int) -> None:
    whole, *_, loss = blended(2)
    cut, *_, same = blended(2, parts)
    assert same == pytest.approx(loss, abs=1e-5)
    for name, tensor in cut.model.state_dict().items():
        torch.testing.assert_close(tensor, whole.model.state_dict()[name], rtol=0, atol=1e-5)


def test_a_blended_clips_right_answer_is_what_most_of_it_is() -> None:
    one = learner(settings("run.precision=fp32"))
    with torch.no_grad():
        one.model.classifier.weight.zero_()
        one.model.classifier.bias.copy_(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]))  # always says 0
    clips = torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8)
    mixed = Mixed(torch.tensor([1, 0]), torch.tensor([0.4, 0.4]))
    step = one.step(clips, torch.tensor([0, 1]), 0, 0.01, mixed)
    assert (int(step.top1), int(step.top5)) == (1, 2)


def test_decay_spares_norms_and_biases_on_request() -> None:
    spared = ("optim.weight_decay=0.1", "optim.decay_norms=false")
    for overrides, shrinks in ((("optim.weight_decay=0.1",), True), (spared, False)):
        one = learner(settings("optim.frozen_norm=all", "run.precision=fp32", *overrides))
        with torch.no_grad():
            one.model.backbone.stem.frames.norm.weight.fill_(1)
            one.model.classifier.weight.zero_()  # so that no gradient reaches the backbone
        before = {name: p.detach().clone() for name, p in one.model.named_parameters()}
        train(one, range(1))
        after = dict(one.model.named_parameters())
        name = "backbone.stem.frames.norm.weight"
        assert (after[name] < before[name]).all().item() == shrinks
        conv, tam = "backbone.stem.frames.conv.weight", "backbone.stem.tam.weight"
        assert all((after[weight].abs() < before[weight].abs()).all() for weight in (conv, tam))


def test_dropout_depends_on_the_seed_and_the_step_alone() -> None:
    chosen = settings("model.dropout=0.5", "run.precision=fp32", "optim.frozen_norm=all")
    assert train(learner(chosen), range(3)) == train(learner(chosen), range(3))
    other = settings("model.dropout=0.5", "run.precision=fp32", "optim.frozen_norm=all", "run.seed=1")
    assert train(learner(chosen), range(3))[1:] != train(learner(other), range(3))[1:]


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])  # fp16: see the overflow above
def test_a_step_whose_loss_or_gradients_are_not_finite_changes_nothing_and_is_told(
    precision: str, where: str
) -> None:
    chosen = settings(f"run.precision={precision}", "optim.ema_decay=0.9")
    hit, spared = learner(chosen), learner(chosen)
    train(hit, range(2))
    train(spared, range(2))
    if where == "loss":
        hook = hit.model.classifier.register_forward_hook(lambda module, given, logits: logits * math.nan)
    else:
        hook = hit.model.classifier.weight.register_hook(lambda gradient: gradient * math.inf)
    assert math.isnan(train(hit, range(2, 3))[0])
    hook.remove()
    before, after = spared.state(), hit.state()
    for part in ("model", "ema"):
        assert all(torch.equal(tensor, before[part][name]) for name, tensor in after[part].items())
    moments = after["optimizer"]["state"], before["optimizer"]["state"]
    assert all(
        torch.equal(moments[0][p]["momentum_buffer"], moments[1][p]["momentum_buffer"]) for p in moments[0]
    )


class Compiled(nn.Module):
    """In place of what torch.compile makes, which takes minutes: the model is a part of it, under another name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model
        self.calls = 0

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        logits: torch.Tensor = self._orig_mod(clips)
        return logits


def test_a_compiled_network_is_what_trains_and_names_stay_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Compiled] = []

    def compiled(model: nn.Module) -> nn.Module:
        made.append(Compiled(model))
        return made[-1]

    monkeypatch.setattr(torch, "compile", compiled)
    plain = learner(settings("run.precision=fp32"))
    assert not made
    ours = learner(settings("run.precision=fp32", "run.compile=true"))
    assert train(ours, range(2)) == train(plain, range(2))
    assert made[0].calls == 2
    assert ours.state()["model"].keys() == plain.state()["model"].keys()

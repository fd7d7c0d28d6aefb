"""The configuration: what is shipped loads, and every mistake is one clear line."""

from pathlib import Path

import pytest
import yaml

from blvnet.zoo import ZOO
from pipeline import config
from pipeline.evaluation import protocol
from sharding.errors import UserError

TRAINED_HERE = [name for name, model in ZOO.items() if model.dataset in ("v1", "v2")]
CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = sorted(p.name for p in CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_loads_and_its_dump_reads_back(name: str, tmp_path: Path) -> None:
    loaded = config.load(str(CONFIGS / name), [])
    copy = tmp_path / "config.yaml"
    copy.write_text(config.dump(loaded))
    assert config.load(str(copy), []) == loaded


def test_each_published_model_has_a_file_with_its_network_data_and_recipe() -> None:
    models = [name.removesuffix(".yaml") for name in SHIPPED if name.startswith("blvnet-tam")]
    assert sorted(models) == sorted(TRAINED_HERE)
    for name in models:
        published = ZOO[name]
        loaded = config.load(str(CONFIGS / f"{name}.yaml"), [])
        assert (loaded.model.depth, loaded.model.num_frames) == (published.depth, published.num_frames)
        version = name[-2:]
        assert loaded.data.root == f"data/sth{version}"
        assert loaded.run.folder == f"runs/{name}"
        if published.num_frames == 16:
            assert (loaded.optim.schedule, loaded.optim.epochs) == ("cosine_by_step", 50)
            assert f"imagenet-blresnet-{published.depth}" in str(loaded.init.reference)
        else:
            # from the next shorter model of the same depth and data set
            assert (loaded.optim.schedule, loaded.optim.epochs) == ("steps", 25)
            shorter = ZOO[str(loaded.init.from_).removeprefix("runs/")]
            assert (shorter.depth, shorter.name[-2:]) == (published.depth, version)
            assert 0 < published.num_frames - shorter.num_frames <= 16


PAPERS = {  # what the reference recipe has, and the recommended one in its place
    "data.sampling": ("reference", "segment"),
    "data.flip": ("reference", "label"),
    "data.short_side": (224, 256),
    "augment.operations": (0, 2),
    "augment.mixup": (0.0, 0.2),
    "optim.schedule": ("cosine", "cosine_by_step"),
    "optim.plateau_of": ("loss", "top1"),
    "optim.patience": (11, 3),
    "optim.decay_norms": (True, False),
    "optim.unbiased_norm": (False, True),
    "optim.norm_ranks": ("main", "all"),
}


@pytest.mark.parametrize("name", sorted(TRAINED_HERE))
def test_each_published_model_has_a_reference_and_a_recommended_form(name: str) -> None:
    path = str(CONFIGS / f"{name}.yaml")
    forms = [config.load(path, [f"recipe={form}"]) for form in ("reference", "recommended")]
    chosen: list[dict[str, object]] = [{}, {}]
    for part, loaded in zip(chosen, forms, strict=True):
        for key in PAPERS:
            section, _, field = key.partition(".")
            part[key] = getattr(getattr(loaded, section), field)
    steps = ZOO[name].num_frames > 16  # of longer clips: a schedule of their own
    expected = {
        key: ("steps", "steps") if steps and "schedule" in key else both for key, both in PAPERS.items()
    }
    assert chosen == [{key: both[form] for key, both in expected.items()} for form in (0, 1)]
    assert config.load(path, []) == forms[1]
    # nothing else differs
    changes = [f"{key}={yaml.safe_dump(both[1]).split()[0]}" for key, both in expected.items()]
    assert config.load(path, ["recipe=reference", *changes]) == forms[1]
    assert protocol.is_published(protocol.views(forms[0]))
    assert not protocol.is_published(protocol.views(forms[1]))


def test_what_a_file_or_the_command_line_states_wins_over_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {CONFIGS / 'paper.yaml'}\nrecipe: reference\ndata: {{flip: none}}\n")
    loaded = config.load(str(path), ["optim.decay_norms=false"])
    assert (loaded.data.sampling, loaded.data.flip, loaded.optim.decay_norms) == ("reference", "none", False)


@pytest.mark.parametrize(
    ("name", "recipe", "message"),
    [
        ("paper", "fast", "recipe: fast is none of its recipes: reference, recommended"),
        ("demo", "reference", "recipe: reference is none of its recipes: it has none"),
    ],
)
def test_a_recipe_that_a_file_does_not_have_is_named(name: str, recipe: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"{name}\.yaml: {message}$"):
        config.load(str(CONFIGS / f"{name}.yaml"), [f"recipe={recipe}"])


def test_a_file_states_only_what_differs_from_its_base() -> None:
    loaded = config.load(str(CONFIGS / "blvnet-tam-101-f32x2-v2.yaml"), [])
    assert loaded.optim.schedule == "steps"  # its own
    assert loaded.optim.weight_decay == 5e-4  # the base's
    assert loaded.init.from_ == "runs/blvnet-tam-101-f24x2-v2"


def test_overrides_are_typed_and_win() -> None:
    loaded = config.load(
        str(CONFIGS / "demo.yaml"),
        ["optim.lr=0.5", "data.scales=[1.0]", "run.folder=s3://b/r", "init.from=x.pt"],
    )
    assert loaded.optim.lr == 0.5
    assert loaded.data.scales == (1.0,)
    assert loaded.run.folder == "s3://b/r"
    assert loaded.init.from_ == "x.pt"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.learning_rate=1"], "unknown key optim.learning_rate"),
        (["speed=1"], "unknown key speed"),
        (["optim.lr=fast"], "optim.lr: must be a number > 0, not fast"),
        (["optim.lr=-1"], "optim.lr: must be a number > 0, not -1"),
        (["model.num_frames=7"], "model.num_frames: must be a whole number ≥ 2, even or 1, not 7"),
        (["data.size=128"], "size 128 is more than short_side 64"),
        (["data.scales=[]"], "scales [] must be one or more shares in (0, 1]"),
        (["data.scales=[1.3]"], "scales [1.3] must be"),
        (["model.alpha=3"], "model.alpha: must be 1, 2, 4"),
        (["data.flip=maybe"], "data.flip: must be label, reference or none, not maybe"),
        (["optim.lr"], "'optim.lr': an override has the form key.path=value"),
        (["optim.lr=[1"], "'optim.lr=[1': the value is not valid YAML"),
        (["run.folder.name=1"], "'run.folder.name=1': folder is no section"),
        (["optim.schedule=multistep"], "schedule multistep needs milestones"),
        (["optim.frozen_norm=true"], "optim.frozen_norm: must be none, all or all_but_first, not true"),
        (["init.from=a", "init.reference=b"], "give init.from or init.reference, not both"),
    ],
)
def test_a_mistake_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        config.load(str(CONFIGS / "demo.yaml"), overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_key_and_a_broken_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    with pytest.raises(UserError, match=r"run\.yaml"):
        config.load(str(path), [])
    path.write_text("data: {root: x}")
    with pytest.raises(UserError, match=r"run: missing; give run.folder"):
        config.load(str(path), [])
    path.write_text("data: [unclosed")
    with pytest.raises(UserError, match="not valid YAML"):
        config.load(str(path), [])
    path.write_text("- a list")
    with pytest.raises(UserError, match="mapping of sections"):
        config.load(str(path), [])

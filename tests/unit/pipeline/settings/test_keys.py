"""What the configuration says of its own keys: a sentence for each, the page in step, the key that was meant."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline import config
from pipeline.config import Config
from pipeline.settings import keys, page

PAGE = Path(__file__).parents[4] / "docs" / "settings.md"
GROUPS = list(keys.groups(Config))
KEYS = [key for group in GROUPS for key in group.keys]


def test_the_page_is_in_step_with_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert config.main(["--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed == PAGE.read_text(), "python -m pipeline.config --markdown > docs/settings.md"
    assert printed.split("-->\n")[1].startswith("# Settings\n")


def test_every_key_of_the_model_is_in_the_table_with_a_sentence() -> None:
    model = {
        f"{section}.{field.alias or name}"
        for section, part in Config.model_fields.items()
        for name, field in part.annotation.model_fields.items()  # type: ignore[union-attr]
    }
    assert {key.path for key in KEYS} == model
    for sentence in [key.sentence for key in KEYS] + [group.sentence for group in GROUPS]:
        assert sentence and "\n" not in sentence and sentence.endswith(".")
    assert len({key.sentence for key in KEYS}) == len(KEYS)


def test_a_default_reads_back_as_the_configurations_own() -> None:
    plain = Config.model_validate({"data": {"root": "x"}, "run": {"folder": "y"}})
    defaults = plain.model_dump(mode="json", by_alias=True)
    required = [key.path for key in KEYS if key.default == keys.REQUIRED]
    assert required == ["data.root", "run.folder"]
    for key in KEYS:
        section, _, name = key.path.partition(".")
        if key.path not in required:
            assert yaml.safe_load(key.default) == defaults[section][name], key.path


def test_both_tables_have_every_key_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert config.main([]) == 0
    text, markdown = capsys.readouterr().out, page.page(Config)
    for key in KEYS:
        assert text.count(f"  {key.path}  [{key.default}]  {key.values}\n") == 1
        assert markdown.count(f"| `{key.path}` |") == 1
    assert max(map(len, text.splitlines())) <= 100
    cells = {line.count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert cells == {5}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("optim.lrr", "optim.lr"),
        ("optim.global_batchs", "optim.global_batch"),
        ("optim.learning_rate", "optim.lr"),  # in the words of its sentence
        ("run.epochs", "optim.epochs"),  # in another section
        ("epochs", "optim.epochs"),  # without one
        ("modl.depth", "model.depth"),
        ("init.form", "init.from"),
        ("optin", "optim"),
    ],
)
def test_the_nearest_key_is_named(written: str, meant: str) -> None:
    assert keys.advice(written, Config) == f"did you mean {meant}?"


def test_where_no_key_is_near_all_are_named() -> None:
    assert keys.advice("speed", Config) == f"there are {', '.join(group.name for group in GROUPS)}"
    init = next(group for group in GROUPS if group.name == "init")
    assert keys.advice("init.zzz", Config) == f"there are {', '.join(key.path for key in init.keys)}"


def test_the_json_schema_has_the_sentences() -> None:
    schema = json.loads(json.dumps(Config.model_json_schema()))
    described = {
        (name, key): field["description"]
        for name, section in schema["$defs"].items()
        for key, field in section["properties"].items()
    }
    assert {key.sentence for key in KEYS} == set(described.values())
    assert described["Data", "window"].startswith(
        "Samples that the run holds for mixing, divided by its lanes"
    )
    assert all(schema["$defs"][group.name.capitalize()]["description"] == group.sentence for group in GROUPS)

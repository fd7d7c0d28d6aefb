"""Settings in the report: what differs, what is not the default, and no raw keys."""

from pipeline import config
from pipeline.reporting import compared, names
from pipeline.reporting.record import Record
from pipeline.settings import keys
from tests.pages import Parsed


def run(name: str, *overrides: str) -> Record:
    tree = {"data": {"root": "d"}, "run": {"folder": name}}
    found = config.override(tree, list(overrides), "test")
    return Record(name, name, found, [], [], [], [], None, [], None, None)


def test_every_setting_and_section_has_a_name() -> None:
    for group in keys.groups(config.Config):
        assert group.name in names.SECTIONS
        for key in group.keys:
            # Not only its own words, which a setting of an unknown program gets.
            assert key.path in names.SETTINGS, f"{key.path} has no name in pipeline/reporting/names.py"
    assert len(set(names.SETTINGS.values())) > 0.9 * len(names.SETTINGS)
    assert names.setting("optim.of_tomorrow") == "of tomorrow"


def test_what_differs_is_shown_alone() -> None:
    runs = [
        run("a", "optim.lr=0.1", "optim.clip_norm=2"),
        run("b", "optim.milestones=[1, 2]", "run.audit=true"),
    ]
    text = compared.section(runs)
    differing = Parsed(text[: text.index("<details>")])
    cells = [line.strip() for line in differing.text.split("\n")]
    assert [line for line in cells if line] == [
        "Settings",
        "What differs between the runs",
        "settingab",
        "learning rate0.10.01",
        "epochs that lower the ratenone1, 2",
        "largest norm of the gradients2none",
        "auditnoyes",
    ]
    assert "optim." not in Parsed(text).text
    tips = {element["title"] for element in differing.named("td") if "title" in element}
    assert "optim.clip_norm" in tips  # for who wants to set it


def test_runs_that_differ_in_their_folder_alone_say_so() -> None:
    assert "nothing but the run folder" in compared.section([run("a"), run("b")])
    assert "differs" not in compared.section([run("a")])


def test_all_settings_are_there_and_those_bold_that_are_not_the_default() -> None:
    text = compared.section([run("a", "optim.lr=0.1", "optim.clip_norm=2", "optim.nesterov=false")])
    assert text.count("<b>") == 3
    for said in ("0.1", "2", "no"):
        assert f"<td><b>{said}</b></td>" in text
    assert Parsed(text).text.count("\n") > len(names.SETTINGS)


def test_values_are_in_words_and_escaped() -> None:
    shown = [compared.shown(value) for value in (None, True, 5e-4, [], [1.0, 0.5], "cosine")]
    assert shown == ["none", "yes", "0.0005", "none", "1, 0.5", "cosine"]
    assert "&lt;i&gt;" in compared.section([run("<i>")]) and "<i>" not in compared.section([run("<i>")])

"""The checks of the documentation find what they are there to find."""

from pathlib import Path

import pytest

from tests import commands, documents

PAGE = """\
<!-- a note
of two lines -->
# The first

Text of two
lines. A `piece of code!` and a [link](there.md#an-anchor), e.g. one.

- One point.
- Another
  one.

| a | table |
|---|---|

## The *second*, `x`

<!-- run: demo -->
```sh
one && two   # a comment
```

<!-- file: mine.yaml (epochs: 2, size: 64) -->
```yaml
optim: {epochs: 30, lr: 1}
data: {size: 112}
```

    make demo

```python
unmarked()
```
"""


@pytest.fixture
def page(tmp_path: Path) -> documents.Page:
    (tmp_path / "page.md").write_text(PAGE)
    return documents.read(tmp_path / "page.md")


def test_a_page_is_told_apart(page: documents.Page) -> None:
    assert page.headings == ["The first", "The *second*, `x`"]
    assert page.anchors == {"the-first", "the-second-x"}
    assert list(page.links()) == ["there.md#an-anchor"]
    assert list(page.code()) == ["x", "piece of code!"]
    assert [sentence for _, sentence in page.sentences()] == [
        "Text of two lines.",
        "A CODE and a link, e.g.",
        "one.",
        "- One point.",
        "- Another one.",
    ]
    assert page.rows == ["| a | table |", "|---|---|"]
    found = [(block.line, block.language, block.kind, block.value) for block in page.blocks]
    assert found == [
        (19, "sh", "run", "demo"),
        (24, "yaml", "file", "mine.yaml (epochs: 2, size: 64)"),
        (28, "indented", "", ""),
        (31, "python", "", ""),
    ]


def test_a_file_takes_the_values_of_its_mark(page: documents.Page) -> None:
    assert page.blocks[1].changed() == ("mine.yaml", "optim: {epochs: 2, lr: 1}\ndata: {size: 64}\n")


def test_commands_are_taken_from_shell_text() -> None:
    text = """\
    # only a comment
    export A=b; A=b B= one --two 'three four' \\
        five > out.txt   # told
    job=$(six | seven) && eight &
    """
    assert commands.commands(text) == [
        ["export", "A=b"],
        ["one", "--two", "three four", "five"],
        ["six"],
        ["seven"],
        ["eight"],
    ]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("blvnet-shard build --dataset csv --annotations a --videos b --out c --size 3", "--size 3"),
        ("blvnet-shard rebuild x", "rebuild"),
        ("python -m pipeline.summary", "run"),
        ("python -m pipeline.training x", "no attribute 'parser'"),
        ("python -m pipeline.nothing x", "no module pipeline.nothing"),
        ("python -m pipeline.train --config demo optim.rate=1", "did you mean optim."),
        ("python -m pipeline.train --config blvnet-tam-50-f9x2-v2", "no configuration"),
        ("python -m pipeline.evaluate --checkpoint a --data b views.clip=1", "did you mean views.clips"),
        ("python -m pipeline.predict --checkpoint a --json b.webm data.siz=1", "did you mean data.size"),
        ("torchrun --nproc-per-node 8 -m pipeline.train --configuration demo", "--config"),
        ("torchrun --nprocs 8 -m pipeline.train --config demo", "nprocs"),
        ("python -m pipeline.agent --nnodes 4 -m pipeline.bench step --config demo data.x=1", "data.x"),
        ("blvnet-launch local --config demo run.foldr=x", "did you mean run.folder"),
        ("blvnet-launch slurm shard --tasks 4 -- --dataset csv --out x", "--videos --archives"),
        ("sbatch launch/train.sbatch demo optim.x=1", "optim.x"),
        ("sbatch launch/nothing.sbatch demo", "launch/nothing.sbatch"),
        ("make nothing", "nothing"),
        ("blvnet-train --config demo", "unknown program"),
    ],
)
def test_a_wrong_command_is_found(command: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, AttributeError)) as caught:
        commands.check(command.split(), tmp_path)
    assert said in str(caught.value)


def test_a_right_command_is_let_through(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: demo.yaml\noptim: {epochs: 2}\n")
    for command in (
        "python -m pipeline.train --config mine.yaml init.from=a.pt",
        "torchrun --nproc-per-node 8 -m pipeline.train --config blvnet-tam-50-f8x2-v2 recipe=reference",
        "blvnet-launch slurm train --nodes 2 --print --config configs/demo.yaml",
        "blvnet-shard --version",
        "make demo",
    ):
        commands.check(command.split(), tmp_path)

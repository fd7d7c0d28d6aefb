"""`docs/settings.md`: how a configuration is put together, and the table of its keys."""

from collections.abc import Iterator

from pydantic import BaseModel

from pipeline.settings.keys import REQUIRED, Group, groups

# The comments say what the tests do with a block (tests/documents.py).
_HEAD = """\
<!-- Made by `python -m pipeline.config --markdown > docs/settings.md`; the sentences are pipeline/config.py's. -->
# Settings

<!-- run: empty -->
```sh
python -m pipeline.config                                        # these tables in a terminal
python -m pipeline.train --config blvnet-tam-50-f8x2-v2 --print  # a configuration in full; nothing is trained
```

A configuration is a YAML file, or the name of one in [`configs/`](../configs). Where the file names another one as its
`base`, relative to itself or of those in `configs/`, it states only what differs.

A file may offer `recipes`, each a set of values, and its key `recipe` chooses one: `recipe=reference` on the command
line chooses another. What the file, its bases or the command line state themselves wins over a recipe.

`key.path=value` behind the options changes one key, and its value is read as YAML: `optim.milestones=[20,40]`,
`data.cache=null`. A key that does not exist ends the program with the name of the one that was meant.
"""


def page(model: type[BaseModel]) -> str:
    """The page of `model`, a model of models, in Markdown."""
    tables = ("\n".join(_table(group)) + "\n" for group in groups(model))
    return "\n".join([_HEAD, *tables])


def _table(group: Group) -> Iterator[str]:
    yield from (f"## {group.name}", "", group.sentence, "")
    yield from ("| key | default | values | what it does |", "|---|---|---|---|")
    for key in group.keys:
        default = key.default if key.default == REQUIRED else f"`{key.default}`"
        cells = (f"`{key.path}`", default, key.values, key.sentence)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

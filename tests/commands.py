"""Shell commands of the documentation, checked without being run: by the real parser of each program."""

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from torch.distributed import run as torchrun

import launch.cli
import sharding.options
from pipeline import config as configuration
from pipeline.settings import tree
from sharding.errors import UserError

ROOT = Path(__file__).parents[1]
OTHERS = {
    "aws",
    "az",
    "cat",
    "df",
    "docker",
    "export",
    "gcloud",
    "echo",
    "kill",
    "kubectl",
    "ls",
    "nvidia-smi",
    "pip",
    "pytest",
    "scancel",
    "sky",
    "tensorboard",
}
"""Programs that are not ours, whose options are not looked at."""

_ENDS = {"&&", "||", "|", ";", "&", "(", ")"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The commands of shell text as lists of words, without comments, redirections and variables set before them."""
    found: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        command: list[str] = []
        words = iter([*lexer, ";"])
        for word in words:
            if word in _ENDS:
                if command:
                    found.append(command)
                command = []
            elif word.startswith((">", "<")):
                next(words)
            elif command or not _ASSIGNMENT.fullmatch(word):
                command.append(word)
    return found


def check(words: Sequence[str], folder: Path) -> None:
    """Raise AssertionError where a program, an option or a key of the configuration does not exist.

    `folder` is where the page's own files are.
    """
    program, *rest = words
    if program == "blvnet-shard":
        _parse(sharding.options.parser(), rest)
    elif program == "blvnet-launch":
        _check_launch(rest, folder)
    elif program == "torchrun":
        _check_torchrun(rest, folder)
    elif program == "python":
        _check_python(rest, folder)
    elif program == "make":
        for target in (word for word in rest if "=" not in word):
            assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    elif program == "sbatch":
        script = next(i for i, word in enumerate(rest) if word.endswith(".sbatch"))
        assert (ROOT / rest[script]).is_file(), rest[script]
        if rest[script] == "launch/train.sbatch":
            check_configuration(rest[script + 1], rest[script + 2 :], folder)
        else:
            _parse(sharding.options.parser(), rest[script + 1 :])
    elif program == "salloc":
        check(rest[next(i for i, word in enumerate(rest) if not word.startswith("-")) :], folder)
    else:
        assert program in OTHERS, f"unknown program {program}"


def check_configuration(name: str, overrides: Sequence[str], folder: Path) -> None:
    """`AssertionError` where the configuration or an override is wrong.

    A file of the reader's own that is not on the page stands for any: then only the overrides are looked at.
    """
    shipped = (tree.SHIPPED / f"{name}.yaml").is_file()
    files = [path for path in (folder / name, ROOT / name) if path.is_file()]
    assert shipped or files or not name.startswith(("blvnet-", "configs/")), f"no configuration {name}"
    try:
        configuration.load(name if shipped else str([*files, ROOT / "configs" / "demo.yaml"][0]), overrides)
    except UserError as error:
        raise AssertionError(str(error)) from None


def _check_launch(words: list[str], folder: Path) -> None:
    args = _read(launch.cli.parse, words)
    if "config" in args:
        check_configuration(args.config, args.overrides, folder)
    if "build" in args:
        _parse(sharding.options.parser(), ["build", *args.build])


def _check_torchrun(words: list[str], folder: Path) -> None:
    args = _parse(torchrun.get_args_parser(), words)
    assert args.module, f"torchrun without -m: {words}"
    _check_python(["-m", args.training_script, *args.training_script_args], folder)


def _check_python(words: list[str], folder: Path) -> None:
    assert words[0] == "-m", f"python without -m: {words}"
    name, rest = words[1], words[2:]
    assert importlib.util.find_spec(name), f"no module {name}"
    if name == "pipeline.agent":
        _check_torchrun(rest, folder)
    elif name.startswith("pipeline."):
        args = _parse(importlib.import_module(name).parser(), rest)
        overrides = list(getattr(args, "overrides", []))
        if name == "pipeline.predict":
            overrides = [word for word in args.videos if re.match(r"\w+\.\w+=", word)]
        check_configuration(getattr(args, "config", "demo"), overrides, folder)


def _parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    return _read(parser.parse_args, words)


def _read(parse: Callable[[list[str]], Namespace], words: list[str]) -> Namespace:
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            return parse(words)
    except SystemExit as end:
        assert not end.code, told.getvalue()
        return Namespace()  # --help, --version

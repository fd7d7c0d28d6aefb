"""The pages of the documentation as the tests see them: sentences, links, and blocks of code with their marks.

A block of `sh` or `python` says in an HTML comment before it what the tests do with it:

    <!-- run: NAME -->       it is run, in a folder that the fixture NAME of tests/unit/test_docs.py has filled
    <!-- file: NAME -->      it is written to that folder as the file NAME; `(epochs: 2)` behind NAME puts these values
                             in place of the page's, so that a test does not take hours
    <!-- needs: REASON -->   no test has what it needs; its commands are parsed, by the programs' own parsers
    <!-- elsewhere: FILE --> the tests in FILE do the same; its commands are parsed here

A page's blocks share one folder, and are taken in order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NEEDS = {
    "a GPU",
    "a bucket",
    "several nodes",
    "the data set",  # Something-Something, or its authors' weights
    "the network",  # to install packages
    "a container",
    "ten minutes",
    "a terminal",
}
"""What no test has."""

_FENCE = re.compile(r"(`{3,})(\w*)\s*")
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_MARK = re.compile(r"(run|file|needs|elsewhere): (.+)")
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(`+)(.+?)\1")
# A full stop ends a sentence where a space follows; what closes behind it belongs to it.
_END = re.compile(r"(?<=[.!?])[)\"*_]*\s+")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, the number of its first line, and what its mark says (kind and value, or empty)."""

    page: Path
    line: int
    language: str
    text: str
    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def changed(self) -> tuple[str, str]:
        """For a `file` mark: the file's name, and its text with the values in brackets in place of the page's."""
        found = re.fullmatch(r"([\w./-]+)(?: \((.+)\))?", self.value)
        assert found, f"{self}: file: {self.value}"
        text = self.text
        for change in (found[2] or "").split(", "):
            if change:
                key, _, value = change.partition(": ")
                text, count = re.subn(rf"\b{key}: [^\s,}}]+", f"{key}: {value}", text)
                assert count == 1, f"{self}: {key} is there {count} times"
        return found[1], text


@dataclass
class Page:
    """A page: its blocks, and the rest as paragraphs, each with its line; headings and rows of tables are apart."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    paragraphs: list[tuple[int, str]] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)

    @property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as GitHub makes them."""
        seen: dict[str, int] = {}
        found = set()
        for heading in self.headings:
            words = re.sub(r"[^\w\- ]", "", _LINK.sub(r"\1", heading).lower()).replace(" ", "-")
            count = seen[words] = seen.get(words, -1) + 1
            found.add(f"{words}-{count}" if count else words)
        return found

    @property
    def prose(self) -> str:
        """All that is not in a block, code in the line included."""
        return "\n".join([*self.headings, *self.rows, *(text for _, text in self.paragraphs)])

    def links(self) -> Iterator[str]:
        """Where the links lead."""
        for found in _LINK.finditer(_CODE.sub("", self.prose)):
            yield found[2]
        # A link's text may be code.
        for found in re.finditer(r"\[`[^`]*`\]\(([^)\s]+)\)", self.prose):
            yield found[1]

    def code(self) -> Iterator[str]:
        """The pieces of code in its lines."""
        for found in _CODE.finditer(self.prose):
            yield found[2]

    def sentences(self) -> Iterator[tuple[int, str]]:
        """The sentences of its paragraphs with the lines where those begin; a piece of code counts as one word."""
        for line, text in self.paragraphs:
            plain = _LINK.sub(r"\1", _CODE.sub("CODE", text))
            for sentence in _END.split(plain):
                yield line, sentence


def read(path: Path) -> Page:
    """The page at `path`."""
    page = Page(path)
    lines = path.read_text().splitlines()
    mark, paragraph, begun, comment = "", "", 0, ""
    i = 0

    def close() -> None:
        nonlocal paragraph
        if paragraph:
            page.paragraphs.append((begun, paragraph))
        paragraph = ""

    while i < len(lines):
        line = lines[i]
        i += 1
        if comment or line.startswith("<!--"):
            close()
            comment += line + "\n"
            if "-->" in line:
                found = _COMMENT.search(comment)
                assert found
                mark, comment = found[1].strip(), ""
            continue
        fence = _FENCE.fullmatch(line.strip())
        if fence:
            close()
            stop = next(n for n in range(i, len(lines)) if lines[n].strip() == fence[1])
            kind, value = found.groups() if (found := _MARK.fullmatch(mark)) else ("", mark)
            text = "\n".join(lines[i:stop]) + "\n"
            page.blocks.append(Block(path, i + 1, fence[2], text, kind, value))
            i, mark = stop + 1, ""
        elif not line.strip():
            close()
        elif line.startswith("#"):
            close()
            page.headings.append(line.lstrip("# "))
        elif line.startswith("|"):
            close()
            page.rows.append(line)
        elif line.startswith("    ") and not paragraph:
            page.blocks.append(Block(path, i, "indented", line.strip() + "\n", "", ""))
        else:
            if re.match(r"\s*([-*]|\d+\.) ", line):
                close()
            if not paragraph:
                begun = i
            paragraph = f"{paragraph} {line.strip()}".strip()
            mark = ""
    close()
    return page

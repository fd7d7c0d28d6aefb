"""An index of tars that others made: a sidecar a tar and a manifest, and not a byte of the tars copied."""

from contextlib import closing
from dataclasses import dataclass, field

from sharding import storage
from sharding.errors import UserError
from sharding.foreign import labels, scan, urls
from sharding.foreign.findings import Findings
from sharding.foreign.labels import Classes
from sharding.foreign.scan import Found, Scanned
from sharding.format import manifest, recipe
from sharding.format.keys import foreign_key_fault
from sharding.format.kinds import of_indexed_tars, with_several_labels
from sharding.format.manifest import Manifest
from sharding.format.rows import IndexedRow
from sharding.format.sidecar import IndexedSidecar, Place, Recipe, save_sidecar, tar_name
from sharding.format.soundness import at_once
from sharding.workers import pool, progress


@dataclass(frozen=True)
class Request:
    """What is to be indexed, and where the index goes: the URL of a split's folder. See the options of the command."""

    urls: list[str]
    out: str
    name: str = "webdataset"
    label: str | None = None
    member: str | None = None
    classes: str | None = None
    workers: int = 1


@dataclass
class Indexed:
    """The manifest, and what is to be said to the user."""

    made: Manifest
    notes: list[str] = field(default_factory=list)


def index(request: Request) -> Indexed:
    """Read every tar once, and write the index. Raises `UserError` for what cannot be read, by name."""
    folder = request.out.removesuffix(f"/{manifest.NAME}").rstrip("/")
    _check_free(folder)
    tars = urls.tars(request.urls)
    names = None if request.classes is None else labels.class_names(request.classes)
    label = request.label or _label_of(tars)
    rule = labels.parse(label)
    with closing(Findings(len(tars))) as found:
        _scan([scan.Request(url, rule, request.member) for url in tars], request.workers, found)
        if not found.samples:
            failure = next((f"; sample {one.key}: {one.reason}" for one in found.failures), "")
            raise UserError(f"{tars[0]}: no sample that can be used in {len(tars)} tars{failure}")
        several = {isinstance(each, tuple) for each in found.said}
        if len(several) > 1:
            raise UserError(f"--label {label}: some samples have a list of labels there, and others have one")
        classes = Classes(found.said, names)
        settings = of_indexed_tars({"label": label} | ({"member": request.member} if request.member else {}))
        settings = with_several_labels(settings) if True in several else settings
        made_of = Recipe(request.name, folder.rpartition("/")[2], classes.names, settings, "", len(tars))
        prefixes = None if found.keys_are_unique else _prefixes(tars)

        def sidecar(i: int) -> IndexedSidecar:
            one, prefix = found.of(i), "" if prefixes is None else prefixes[i]
            rows = [_row(sample, prefix, classes, tars[i]) for sample in one.samples]
            return IndexedSidecar(tar_name(i), one.bytes, one.sha256, rows, one.failures, made_of, tars[i])

        def written(i: int) -> manifest.Entry:
            made = sidecar(i)
            save_sidecar(Place(folder, made.name).sidecar_url, made)
            return manifest.entry(made)

        for i in range(len(tars)):  # whatever is wrong is told before anything is written
            sidecar(i)
        made = manifest.save(folder, made_of, at_once(written, range(len(tars))))
        notes = found.notes
        if prefixes is not None:
            notes.append("keys are the same in several tars: each begins with its tar's name here")
        if rule.kind == "none":
            notes.append("no labels; --label says where they are")
        elif request.label is None:
            notes.append(f"labels are those of .{label}")
        return Indexed(made, notes)


def _check_free(folder: str) -> None:
    """`UserError` where the folder has shards that were built."""
    names = storage.list_names(folder)
    if recipe.NAME in names:
        raise UserError(f"{folder}: shards that were built lie there; write the index into another folder")


def _label_of(tars: list[str]) -> str:
    """`cls` where the first sample has such a member, else none."""
    for url in tars:
        if group := scan.first_group(url):
            return "cls" if "cls" in group.members else "none"
    return "none"


def _scan(requests: list[scan.Request], workers: int, found: Findings) -> None:
    number_of = {request.url: i for i, request in enumerate(requests)}
    with progress.bar("index", len(requests), "tar") as bar:

        def on_result(request: scan.Request, result: Scanned) -> None:
            found.add(number_of[request.url], result)
            bar.update()

        def on_lost(lost: pool.Lost[scan.Request]) -> scan.Request:
            raise UserError(
                f"{lost.task.url}: the worker that read it was ended at sample {lost.step} "
                f"({lost.signal or lost.exitcode}); give fewer --workers, or leave that tar out"
            )

        if workers == 1:
            for request in requests:
                on_result(request, scan.scan(request, lambda _: None))
        else:
            pool.run(scan.in_worker, requests, workers, lambda *_: None, on_result, on_lost)


def _row(found: Found, prefix: str, classes: Classes, url: str) -> IndexedRow:
    inside, key = found.content, prefix + found.key
    if fault := foreign_key_fault(key):
        raise UserError(f"{url}: the name of sample {key!r} {fault}; rename its members")
    return IndexedRow(
        key,
        found.offset,
        found.bytes,
        found.crc32,
        classes.index(found.label, f"{url}: sample {found.key}"),
        inside.frames,
        inside.kind,
        inside.width,
        inside.height,
        inside.parts,
    )


def _prefixes(tars: list[str]) -> list[str]:
    """What stands before the keys of each tar, so that they are unique: its name, or its number where names are not."""
    names = [urls.name(url) for url in tars]
    unique = len(set(names)) == len(names)
    return [f"{name}/" if unique else f"{i:06d}/" for i, name in enumerate(names)]

"""An index of tars that others made: a sidecar a tar and a manifest, and not a byte of the tars copied."""

from dataclasses import dataclass, field

from sharding import storage
from sharding.errors import UserError
from sharding.foreign import labels, scan, urls
from sharding.foreign.labels import Classes
from sharding.foreign.scan import Found, Scanned
from sharding.format import manifest, recipe
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
    found = _scanned([scan.Request(url, rule, request.member) for url in tars], request.workers)
    if not any(one.samples for one in found):
        failure = next((f"; sample {f.key}: {f.reason}" for one in found for f in one.failures), "")
        raise UserError(f"{tars[0]}: no sample that can be used in {len(tars)} tars{failure}")
    said = {sample.label for one in found for sample in one.samples}
    several = {isinstance(each, tuple) for each in said}
    if len(several) > 1:
        raise UserError(f"--label {label}: some samples have a list of labels there, and others have one")
    classes = Classes(said, names)
    settings = of_indexed_tars({"label": label} | ({"member": request.member} if request.member else {}))
    settings = with_several_labels(settings) if True in several else settings
    made_of = Recipe(request.name, folder.rpartition("/")[2], classes.names, settings, "", len(tars))
    keys = _Keys(tars, found)
    sidecars = [
        IndexedSidecar(
            tar_name(i),
            one.bytes,
            one.sha256,
            [_row(sample, keys.of(i, sample.key), classes, url) for sample in one.samples],
            one.failures,
            made_of,
            url,
        )
        for i, (url, one) in enumerate(zip(tars, found, strict=True))
    ]
    at_once(lambda one: save_sidecar(Place(folder, one.name).sidecar_url, one), sidecars)
    made = manifest.save(folder, made_of, [manifest.entry(one) for one in sidecars])
    notes = [note for one in found for note in one.notes]
    if keys.qualified:
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


def _scanned(requests: list[scan.Request], workers: int) -> list[Scanned]:
    found: dict[str, Scanned] = {}
    with progress.bar("index", len(requests), "tar") as bar:
        if workers == 1:
            for request in requests:
                found[request.url] = scan.scan(request, lambda _: None)
                bar.update()
            return [found[request.url] for request in requests]

        def on_result(request: scan.Request, result: Scanned) -> None:
            found[request.url] = result
            bar.update()

        def on_lost(lost: pool.Lost[scan.Request]) -> scan.Request:
            raise UserError(
                f"{lost.task.url}: the worker that read it was ended at sample {lost.step} "
                f"({lost.signal or lost.exitcode}); give fewer --workers, or leave that tar out"
            )

        pool.run(scan.in_worker, requests, workers, lambda *_: None, on_result, on_lost)
    return [found[request.url] for request in requests]


def _row(found: Found, key: str, classes: Classes, url: str) -> IndexedRow:
    inside = found.content
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


class _Keys:
    """Names of samples that are unique in the split: webdataset's keys, or, where two tars share one, behind the tar's
    name, or behind its number where tars share their names."""

    def __init__(self, tars: list[str], found: list[Scanned]) -> None:
        every = sum(len(one.samples) for one in found)
        self.qualified = len({sample.key for one in found for sample in one.samples}) < every
        names = [urls.name(url) for url in tars]
        unique = len(set(names)) == len(names)
        self._names = names if unique else [f"{i:06d}" for i in range(len(tars))]

    def of(self, tar: int, key: str) -> str:
        """The name of a sample of a tar."""
        return f"{self._names[tar]}/{key}" if self.qualified else key

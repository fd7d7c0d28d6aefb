"""`blvnet-shard`: videos to shards, and what to do with shards. Imports are late, so that --help is quick."""

import argparse
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING

from sharding import options
from sharding.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from sharding.building.settings import Settings
    from sharding.fingerprints.table import Fingerprint


@one_line_errors
def main(argv: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 0 done, 1 damage or differences, 2 a mistake or too many failures."""
    args = options.parser().parse_args(argv)
    if "" in (getattr(args, "out", None), getattr(args, "url", None)):
        raise UserError("an empty --out or URL; is a variable of the shell not set?")
    run = {
        "build": _build,
        "estimate": _estimate,
        "index": _index,
        "finalize": _finalize,
        "verify": _verify,
        "inspect": _inspect,
        "fingerprint": _fingerprint,
        "compare": _compare,
        "demo": _demo,
    }[args.command]
    # A batch system ends a job with SIGTERM: the same clean end as Ctrl-C.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = run(args)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return status


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _build(args: argparse.Namespace) -> int:
    from sharding.building import downloads, tasks
    from sharding.building.build import Request, build
    from sharding.format import budget

    max_failures = budget.parse(args.max_failures)
    if args.input != "rgb" and args.archives is not None:
        raise UserError(f"--archives takes films; with --input {args.input} unpack them, and give --videos")
    archives = downloads.look(args.archives, args.spool, args.out)
    request = Request(
        dataset=args.dataset,
        annotations=downloads.annotations(args.dataset, args.annotations, archives),
        videos=args.videos or args.archives,
        out=args.out,
        settings=_settings(args),
        splits=args.split,
        classes=args.classes,
        validation_share=args.validation_share,
        only_classes=args.only_classes,
        label_separator=args.label_separator,
        workers=args.workers,
        part=tasks.part(args.task_index, args.task_count, os.environ),
        repair=args.repair,
        video_limit_s=args.video_limit,
        max_failures=max_failures,
        archives=archives,
    )
    if note := tasks.note(args.task_index, args.task_count, os.environ):
        print(f"note: {note}", file=sys.stderr)
    summary = build(request)
    for made in summary.manifests:
        print(made.line())
    print(summary.line())
    if request.part.count > 1:
        print(f"when all {request.part.count} tasks are done: blvnet-shard finalize {shlex.quote(args.out)}")
        return 0
    max_failures.check(summary.manifests)
    if archives is not None and args.spool is None:
        archives.forget()
    return 0


def _estimate(args: argparse.Namespace) -> int:
    from sharding.building.build import Request
    from sharding.building.estimate import estimate

    request = Request(
        dataset=args.dataset,
        annotations=args.annotations,
        videos=args.videos,
        out="",
        settings=_settings(args),
        splits=args.split,
        classes=args.classes,
        validation_share=args.validation_share,
        only_classes=args.only_classes,
        label_separator=args.label_separator,
    )
    print(*estimate(request, args.videos_sampled).lines(args.cores, args.clips_per_second), sep="\n")
    return 0


def _settings(args: argparse.Namespace) -> "Settings":
    from sharding.building.settings import Settings

    return Settings(
        short_side=args.short_side,
        enlarge=not args.no_enlarge,
        quality=args.quality,
        fps=args.fps,
        max_frames=args.max_frames,
        samples_per_shard=args.samples_per_shard,
        seed=args.seed,
        follow_links=args.follow_links,
        input=args.input,
        store=args.store,
        jpeg_hash=args.jpeg_hash,
    )


def _index(args: argparse.Namespace) -> int:
    from sharding.foreign import grouping
    from sharding.foreign.index import Request, index
    from sharding.format import budget

    grouping.load_webdataset()
    max_failures = budget.parse(args.max_failures)
    request = Request(args.urls, args.out, args.name, args.label, args.member, args.classes, args.workers)
    indexed = index(request)
    for note in indexed.notes:
        print(f"note: {note}", file=sys.stderr)
    print(indexed.made.line())
    max_failures.check([indexed.made])
    return 0


def _finalize(args: argparse.Namespace) -> int:
    from sharding import storage
    from sharding.format import budget, manifest

    max_failures = budget.parse(args.max_failures)
    splits = args.split or manifest.some_splits(args.url)
    manifests = [manifest.finalize(storage.join(args.url, split)) for split in splits]
    for made in manifests:
        print(made.line())
    max_failures.check(manifests)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from sharding import storage
    from sharding.building.verify import verify
    from sharding.format import manifest

    urls = [storage.join(args.url, split) for split in args.split or manifest.some_splits(args.url)]
    reports = [verify(url, args.workers) for url in urls]
    for report in reports:
        print(*report.lines(), sep="\n")
    damaged = [report for report in reports if report.problems]
    if not all(report.indexed for report in damaged):
        print("the same build command with --repair builds damaged shards again")
    if any(report.indexed for report in damaged):
        print("a tar that was replaced on purpose: index again; one that is damaged: copy it again")
    return int(bool(damaged))


def _inspect(args: argparse.Namespace) -> int:
    from sharding import storage
    from sharding.format import manifest
    from sharding.pages import page, units
    from sharding.pages.inspect import look

    is_split = args.url.endswith(".json") or storage.exists(storage.join(args.url, manifest.NAME))
    urls = [args.url]
    if not is_split:
        urls = [storage.join(args.url, split) for split in args.split or manifest.some_splits(args.url)]
    splits = look(urls, args.samples, args.every, args.seed)
    html = page.render(args.url, splits).encode()
    storage.write_bytes(args.out, html)
    for split in splits:
        print(*split.lines(), sep="\n")
    print(f"{args.out}: {units.size(len(html))}, open it in a browser")
    if any(split.damaged for split in splits):
        print(f"damaged samples: blvnet-shard verify {shlex.quote(args.url)} checks all of them")
        return 1
    return 0


def _fingerprint(args: argparse.Namespace) -> int:
    from sharding.fingerprints import table

    made = _taken(args.url, args.split, args.workers)
    size = table.save(args.out, made)
    print(
        f"{args.out}: {len(made.keys)} videos of {', '.join(s.name for s in made.splits)}, {size / 1e3:.1f} kB"
    )
    return 0


def _compare(args: argparse.Namespace) -> int:
    from sharding.fingerprints import table
    from sharding.fingerprints.compare import compare

    sets = [
        table.load(url) if url.endswith(".npz") else _taken(url, args.split, args.workers)
        for url in (args.a, args.b)
    ]
    result = compare(*sets)
    print(*result.lines(args.most), sep="\n")
    return int(result.differs)


def _taken(url: str, splits: list[str] | None, workers: int) -> "Fingerprint":
    """The fingerprint of the set or split at `url`, under a progress bar."""
    from sharding import storage
    from sharding.fingerprints.take import take
    from sharding.format import manifest
    from sharding.workers import progress

    is_split = storage.exists(storage.join(url, manifest.NAME))
    urls = [url] if is_split else [storage.join(url, split) for split in splits or manifest.some_splits(url)]
    manifests = [manifest.load(each) for each in urls]
    with progress.bar("fingerprint", sum(made.samples for made in manifests), "sample") as bar:
        return take(manifests, workers, bar.update)


def _demo(args: argparse.Namespace) -> int:
    from sharding.demo import demo

    demo.make(args.folder, seed=args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Film that was taken in fields, made whole frames. A field holds every second row, and is a moment of its own."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from av import VideoFrame
from av.error import BlockingIOError as NotYet
from av.error import EOFError as Finished
from av.filter import Graph

from sharding.sources.times import Timed


def deinterlaced(timed: Iterable[Timed], notes: dict[str, Any]) -> Iterator[Timed]:
    """The same number of frames at the same times, those marked as interlaced without combs.

    From the first of these on `notes` says so. Film without any goes through untouched.
    """
    graph: Graph | None = None
    waiting: deque[float] = deque()
    shape = None
    for number, (time, frame) in enumerate(timed):
        if graph is None and not frame.interlaced_frame:
            yield time, frame
            continue
        notes["interlaced"] = True
        found = (frame.width, frame.height, frame.format.name)
        if graph is None or found != shape:
            yield from _rest(graph, waiting)
            graph, shape = _graph(frame), found
        waiting.append(time)
        frame.pts = number  # the filter wants times that go on; ours are kept here
        graph.vpush(frame)
        yield from _ready(graph, waiting)
    yield from _rest(graph, waiting)


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    # One frame for each, and only for those that are marked.
    filtering = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(source, filtering, graph.add("buffersink")).configure()
    return graph


def _ready(graph: Graph, waiting: deque[float]) -> Iterator[Timed]:
    while True:
        try:
            frame = graph.vpull()
        except (NotYet, Finished):
            return
        yield waiting.popleft(), frame


def _rest(graph: Graph | None, waiting: deque[float]) -> Iterator[Timed]:
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph, waiting)

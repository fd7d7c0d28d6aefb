"""Hosts that meet, and that come and go while a run goes on: what `pipeline.agent` adds to torchrun's rendezvous.

torchrun notices a host that comes, but a host that is lost only by the ranks that fail with it: where a machine loses
its power, or its cable, these wait for as long as an exchange may take. Here a host without a sign of life is noticed,
too. Ranks that are whole write a checkpoint before they are started again. Who is waited for is said.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousTimeoutError,
)
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import DEFAULT_PORT, create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import (
    DynamicRendezvousHandler,
    RendezvousTimeout,
    _NodeDesc,
    _RendezvousExitOp,
)
from torch.distributed.elastic.rendezvous.utils import _matches_machine_hostname, parse_rendezvous_endpoint

from pipeline.ranks import launcher, waiting
from pipeline.ranks.waiting import say
from sharding.errors import UNREACHABLE

BACKEND = "blvnet"
BEATS = {True: (2, 3), False: (5, 3)}
"""Where hosts may come and go each says every two seconds that it lives, and is lost without that for six, by the
hosts' clocks. Where they may not, there is time: every five seconds, and fifteen, as torchrun has it. Not more often:
each such word is a write to what all share, and one that is slow gets no turn between the others'."""
JOIN_S = 600
FIRST_CALL_S, LAST_CALL_S = 30, 3
"""How long MIN hosts wait for more: at the start, and later, for those that live and have just been together."""
_FAREWELL_S = 5.0
_AGAIN = "start the commands of all hosts again; with --min-hosts a run begins without some"


class AbsentError(RendezvousError):
    """Hosts did not come: the text says which, and what to do. The launcher ends with `status`."""

    status = UNREACHABLE


class Elastic:
    """The rendezvous of one agent, whose ranks speak to it through `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handler: _Handler | None = None
        self._meets_here = False

    def create(self, given: RendezvousParameters) -> DynamicRendezvousHandler:
        """The handler, for torchrun's registry; what `--rdzv-conf` gives wins over the numbers here."""
        host, port = parse_rendezvous_endpoint(given.endpoint, default_port=DEFAULT_PORT)
        here = given.get_as_bool("is_host")
        self._meets_here = _matches_machine_hostname(host) if here is None else here
        join_s = given.get_as_int("join_timeout", JOIN_S) or 0
        if not self._meets_here:
            _wait_for_the_first(host, port, join_s)
        try:
            backend, store = create_backend(given)
        except RendezvousConnectionError:
            raise RendezvousError(f"nobody answers at {given.endpoint}") from None
        timeouts = _Timeouts(
            timedelta(seconds=join_s),
            timedelta(seconds=given.get_as_int("last_call_timeout", FIRST_CALL_S) or 0),
        )
        every_s, often = BEATS[given.min_nodes < given.max_nodes]
        made = _Handler.from_backend(
            *(given.run_id, store, backend, given.min_nodes, given.max_nodes, given.local_addr, timeouts),
            keep_alive_interval=given.get_as_int("keep_alive_interval", every_s) or every_s,
            keep_alive_max_attempt=given.get_as_int("keep_alive_max_attempt", often) or often,
        )
        assert isinstance(made, _Handler)
        made.begin(self._folder, [name for name in given.get("hosts", "").split("/") if name])
        timeouts.met, timeouts.expected = lambda: made.met, lambda: made.expected
        self._handler = made
        return made

    def may_leave(self) -> bool:
        """Whether the others can go on without this host: not where they meet on it."""
        return self._handler is not None and self._handler.elastic and not self._meets_here

    def leave(self) -> None:
        """Tell the others that this host has gone, so that they need not find out."""
        if self._handler is not None and self.may_leave():
            with contextlib.suppress(Exception):  # they find out
                self._handler.leave()


class _Timeouts(RendezvousTimeout):
    """Of which the last call is short for those who have `met` before, and none where nobody else is `expected`."""

    met: Callable[[], bool] = staticmethod(lambda: False)
    expected: Callable[[], bool] = staticmethod(lambda: True)

    @property
    def last_call(self) -> timedelta:
        if not self.met():
            return super().last_call
        return min(super().last_call, timedelta(seconds=LAST_CALL_S if self.expected() else 0))


class _Handler(DynamicRendezvousHandler):
    _together: frozenset[_NodeDesc]

    def begin(self, folder: Path, names: list[str]) -> None:
        """`names`: those of all hosts, where they are known."""
        self._folder, self._starts, self._together, self._names = folder, 0, frozenset(), names
        self._came: set[str] = set()
        self._beats: dict[_NodeDesc, datetime] = {}

    @property
    def elastic(self) -> bool:
        return self.settings.min_nodes < self.settings.max_nodes

    @property
    def met(self) -> bool:
        return self._state_holder.state.round > 0

    @property
    def expected(self) -> bool:
        """Whether another host lives and has not come to this meeting yet."""
        state, settings = self._state_holder.state, self.settings
        expired = datetime.now(timezone.utc) - settings.keep_alive_interval * settings.keep_alive_max_attempt
        # One that is about to come takes itself off the list for a moment.
        just_now = {node for node in self._together if self._beats.get(node, expired) > expired}
        return bool((just_now | set(state.last_heartbeats)) - set(state.participants) - {self._this_node})

    def get_backend(self) -> str:
        return BACKEND

    def next_rendezvous(self) -> RendezvousInfo:
        launcher.begin_start(self._folder, self._starts)
        self._starts += 1
        self._came = {self._this_node.addr}
        try:
            with waiting.told(self._missing):
                info = super().next_rendezvous()
        except RendezvousTimeoutError:
            join_s = self.settings.timeout.join.total_seconds()
            raise AbsentError(f"{self._awaited()} not there within {join_s:.0f} s; {_AGAIN}") from None
        except (RendezvousClosedError, RendezvousConnectionError) as error:
            if self._starts == 1 and len(self._came) < self.settings.max_nodes:
                # Those who came first wait no longer.
                raise AbsentError(f"{self._awaited()} not there, and others gave up; {_AGAIN}") from None
            if isinstance(error, RendezvousClosedError):
                raise RendezvousError("the run has ended") from None
            raise
        self._together = frozenset(self._state_holder.state.participants)
        if info.rank == 0 and (self._starts > 1 or len(self._together) < self.settings.max_nodes):
            names = ", ".join(node.addr for node in sorted(self._together))
            verb = "go on" if self._starts > 1 else "begin"
            say(f"{len(self._together)} of at most {self.settings.max_nodes} hosts {verb}: {names}")
        return info

    def num_nodes_waiting(self) -> int:
        """Hosts that come, or have gone: where there are any, the ranks have ended when this returns."""
        coming, lost = super().num_nodes_waiting(), self._lost()
        self._beats.update(self._state_holder.state.last_heartbeats)
        if coming and not lost:
            self._end_whole()
        elif lost:
            # Those that wait have only ended their ranks earlier.
            if names := ", ".join(
                node.addr for node in lost if node not in self._state_holder.state.wait_list
            ):
                say(f"{names} is gone: the others start again from the newest checkpoint")
            launcher.end_ranks(self._folder, signal.SIGKILL)  # they wait for the lost ones
        return coming or len(lost)

    def leave(self) -> None:
        self._stop_heartbeats()
        self._op_executor.run(_RendezvousExitOp(), time.monotonic() + _FAREWELL_S)

    def _missing(self) -> str:
        # Those whose time is up take themselves off the list again.
        self._came.update(node.addr for node in list(self._state_holder.state.participants))
        return f"{self._awaited()} not there yet"

    def _awaited(self) -> str:
        if missing := [name for name in self._names if name not in self._came]:
            return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
        if len(self._came) >= self.settings.max_nodes:
            return "all hosts have come, but an answer is"
        return f"of {self.settings.max_nodes} hosts only {', '.join(sorted(self._came))} came: the others are"

    def _lost(self) -> list[_NodeDesc]:
        return sorted(self._together.difference(self._state_holder.state.participants))

    def _end_whole(self) -> None:
        """Have the ranks of all hosts write a checkpoint and end, through those of this one."""
        say("a host has come: all write a checkpoint and start again")
        launcher.regroup(self._folder)
        launcher.end_ranks(self._folder, signal.SIGTERM)
        grace_s = float(os.environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "30"))
        deadline = time.monotonic() + grace_s
        while launcher.running(self._folder) and time.monotonic() < deadline:
            time.sleep(0.1)
            super().num_nodes_waiting()
            if self._lost():  # the ranks there have ended; here they wait for them
                launcher.end_ranks(self._folder, signal.SIGKILL)


def _wait_for_the_first(host: str, port: int, patience_s: float) -> None:
    """Until somebody answers where all hosts meet."""
    with waiting.told(lambda: f"{host} is not there yet, where all hosts meet (port {port})"):
        if not waiting.answers(host, port, patience_s):
            raise AbsentError(
                f"{host}, where all hosts meet, is not there within {patience_s:.0f} s; {_AGAIN}"
            )

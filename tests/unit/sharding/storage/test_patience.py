"""How long stores may be away, with the real numbers, on a clock that waits for nobody."""

import itertools
import math
import os
import random
from collections.abc import Callable

import pytest

from sharding import storage
from sharding.errors import UnreachableError, UserError
from sharding.storage import patience
from tests.faults import Fault, FaultProxy, Request
from tests.unit.sharding.storage.conftest import PART, Clock

pytestmark = [
    pytest.mark.store,
    # Google's client leaves the answers of failed downloads to the collector, and so does the proxy now and then
    # with a connection that a client dropped.
    pytest.mark.filterwarnings(r"ignore:Exception ignored in. <(socket.socket|function _SelectorTransport)"),
]

AWAY_S = 45.0
FAULTS = {
    "refused": Fault(hang=0),
    "reset": Fault(hang=0),
    "503": Fault(status=503),
    "429": Fault(status=429),
}


class Outage:
    """A store that goes away at its request of a number, for `AWAY_S` of the clock, and is back then."""

    def __init__(self, proxy: FaultProxy, clock: Clock, kind: str, first: int) -> None:
        self._proxy, self._clock, self._kind, self._first = proxy, clock, kind, first
        self._until = math.inf
        self.refused = False
        proxy.requests.clear()
        proxy.decide = self._decide
        clock.woken, clock.now = self._woken, 0.0

    def _decide(self, request: Request) -> Fault | None:
        if request.number < self._first or self._clock.now >= self._until:
            return None
        if self._until == math.inf:
            self._until = self._clock.now + AWAY_S
            if self._kind == "refused":
                self._proxy.refuse()
                self.refused = True
        return FAULTS[self._kind]

    def _woken(self) -> None:
        if self.refused and self._clock.now >= self._until:
            self._proxy.listen()
            self.refused = False


CONTENT, BIG = os.urandom(1_500_000), os.urandom(PART + 100_000)


def _publish(url: str) -> None:
    with storage.publish(url) as stream:
        stream.write(BIG)


OPERATIONS: dict[str, tuple[Callable[[str], object], Callable[[str], object]]] = {
    # what is done; what is true afterwards
    "read": (lambda root: storage.read_bytes(f"{root}/kept"), lambda root: CONTENT),
    "look up": (lambda root: storage.size(f"{root}/kept"), lambda root: len(CONTENT)),
    "list": (lambda root: storage.list_names(f"{root}/folder"), lambda root: ["a", "b"]),
    "put": (lambda root: storage.write_bytes(f"{root}/put", CONTENT), lambda root: None),
    "publish": (lambda root: _publish(f"{root}/published"), lambda root: None),
    "remove": (lambda root: storage.remove(f"{root}/removed"), lambda root: None),
}


def _prepare(root: str) -> None:
    storage.write_bytes(f"{root}/kept", CONTENT)
    storage.write_bytes(f"{root}/removed", b"x")
    for name in "ab":
        storage.write_bytes(f"{root}/folder/{name}", b"x")


@pytest.mark.parametrize("kind", FAULTS)
def test_a_store_that_is_away_for_45_s_costs_about_45_s_whenever_it_goes(
    proxied: tuple[str, FaultProxy], clock: Clock, kind: str
) -> None:
    root, proxy = proxied
    _prepare(root)
    for act, expected in OPERATIONS.values():
        proxy.requests.clear()
        proxy.decide = lambda request: None
        act(root)
        for first in range(len(proxy.requests)):
            storage.write_bytes(f"{root}/removed", b"x")
            outage = Outage(proxy, clock, kind, first)
            assert act(root) == expected(root)
            assert AWAY_S <= clock.now <= AWAY_S + patience.BACKOFF_MAX_S
            assert not outage.refused
            proxy.decide = lambda request: None
    assert storage.read_bytes(f"{root}/put") == CONTENT
    assert storage.read_bytes(f"{root}/published") == BIG
    assert not storage.exists(f"{root}/removed")


@pytest.mark.parametrize("kind", ["refused", "503"])
def test_a_store_that_goes_in_the_middle_of_an_answer_is_waited_for_and_read_on(
    proxied: tuple[str, FaultProxy], clock: Clock, kind: str
) -> None:
    root, proxy = proxied
    _prepare(root)
    proxy.requests.clear()
    storage.read_bytes(f"{root}/kept")
    first = next(r.number for r in proxy.requests if r.answered > 1_000_000)  # the first with content
    outage = Outage(proxy, clock, kind, first + 1)
    decide = proxy.decide
    proxy.decide = lambda request: (
        Fault(reset_download=600_000) if request.number == first else decide(request)
    )
    assert storage.read_bytes(f"{root}/kept") == CONTENT
    assert AWAY_S <= clock.now <= AWAY_S + 2 * patience.BACKOFF_MAX_S
    assert not outage.refused


@pytest.mark.parametrize("kind", ["refused", "503"])
def test_a_store_that_is_away_for_ever_is_given_up_after_the_promised_time_in_one_line(
    proxied: tuple[str, FaultProxy],
    clock: Clock,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, proxy = proxied
    _prepare(root)
    proxy.decide = lambda request: FAULTS[kind]
    if kind == "refused":
        proxy.refuse()
    monkeypatch.setattr(patience, "_said_at", -math.inf)
    for act, _ in OPERATIONS.values():
        proxy.requests.clear()
        start = clock.now
        with pytest.raises(UnreachableError) as caught:
            act(root)
        assert patience.TOTAL_S <= clock.now - start < patience.TOTAL_S + 1
        assert str(caught.value).startswith(f"{root}/")
        assert ": tried for 120 s, and at last: " in str(caught.value)
        assert ("HTTP 503" in str(caught.value)) == (kind == "503")
        assert "\n" not in str(caught.value)
        assert len(proxy.requests) < 40
    said = capsys.readouterr().err.splitlines()
    assert 1 <= len(said) <= len(OPERATIONS)
    assert all(line.startswith("warning: no good answer from a store for ") for line in said)
    if kind == "refused":
        proxy.listen()


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 412, 416, 501])
def test_what_no_waiting_mends_is_told_after_one_request(
    proxied: tuple[str, FaultProxy], clock: Clock, status: int
) -> None:
    root, proxy = proxied
    proxy.decide = lambda request: Fault(status=status)
    for name, (act, _) in OPERATIONS.items():
        proxy.requests.clear()
        told = ""
        try:
            act(root)
        except UserError as error:
            told = str(error)
            assert not isinstance(error, UnreachableError)
            assert told.startswith(f"{root}/") and "\n" not in told
            assert f"HTTP {status}" in told or "no such file" in told or "no credentials" in told
        # A missing object may well be removed; one that has no byte to read may be read as nothing.
        assert told or (status, name) in {(404, "remove"), (416, "read")}
        assert clock.now == 0
        asked = [r for r in proxy.requests if not _asks_for_the_region(r) and not _looks_for_uploads(r)]
        assert len(asked) == 1, (name, proxy.requests)


def _asks_for_the_region(request: Request) -> bool:
    """S3's client does so once where an answer hints at another region: HEAD of the bucket."""
    return request.method == "HEAD" and request.target == "/tests"


def _looks_for_uploads(request: Request) -> bool:
    return request.method == "GET" and "uploads" in request.target


def test_thousands_of_requests_with_three_in_ten_refused_use_nothing_up(
    proxied: tuple[str, FaultProxy], clock: Clock
) -> None:
    root, proxy = proxied
    storage.write_bytes(f"{root}/a", b"content")
    chance = random.Random(1)
    proxy.decide = lambda request: Fault(status=503) if chance.random() < 0.3 else None
    for _ in range(2000 if root.startswith("s3:") else 500):
        assert storage.read_bytes(f"{root}/a") == b"content"
    assert len(proxy.requests) > 700


def test_the_pauses_grow_to_their_greatest_and_no_two_clients_keep_time(clock: Clock) -> None:
    def away() -> None:
        raise ConnectionError

    def pauses() -> list[float]:
        moments = [clock.now]
        clock.woken = lambda: moments.append(clock.now)
        with pytest.raises(patience.Exhausted):
            patience.insist(away, lambda error: True)
        assert moments[-1] - moments[0] == pytest.approx(patience.TOTAL_S)
        return [after - before for before, after in itertools.pairwise(moments)]

    mine, others = pauses(), pauses()
    assert 0.25 <= mine[0] <= 0.5 and 5 < max(mine) <= patience.BACKOFF_MAX_S
    assert 12 <= len(mine) <= 30
    assert mine[:5] != others[:5]


def test_a_request_that_hangs_takes_its_time_out_of_the_whole(clock: Clock) -> None:
    tries: list[float] = []

    def hangs() -> None:
        tries.append(clock.now)
        clock.now += patience.READ_TIMEOUT_S
        raise TimeoutError

    with pytest.raises(patience.Exhausted):
        patience.insist(hangs, lambda error: True)
    assert len(tries) == 4
    assert clock.now < patience.TOTAL_S + patience.READ_TIMEOUT_S


def test_only_what_passes_is_tried_again(clock: Clock) -> None:
    errors: list[Exception] = [ConnectionError(), TimeoutError(), ZeroDivisionError()]

    def fails() -> None:
        raise errors.pop(0)

    with pytest.raises(ZeroDivisionError):
        patience.insist(fails, lambda error: isinstance(error, OSError))
    assert errors == []

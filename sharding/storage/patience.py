"""How long a request to a store may take and how often it is tried again: the same numbers for every cloud.

A request that breaks, goes silent or gets an error of the server's (500, 502, 503, 504, throttling) is sent
again, up to `ATTEMPTS` times in all, with exponential backoff and jitter between. So a store may be away for
about a minute before the caller sees an error; one that hangs costs `ATTEMPTS` read time-outs more, never
longer. A client takes the numbers when it is made.
"""

import random

CONNECT_TIMEOUT_S = 10.0  # until a connection stands
READ_TIMEOUT_S = 30.0  # of silence on a connection that stands
ATTEMPTS = 8  # requests in all, the first one included
BACKOFF_S = 0.5  # before the second attempt; doubles with each one
BACKOFF_MAX_S = 20.0
DEADLINE_S = 120.0  # for Google's client, which counts the seconds of all attempts together in their place

PART_BYTES = 16 << 20  # one part of an upload: what a writer holds in memory and sends again when it breaks
READ_CHUNK_BYTES = 8 << 20  # one request of a download where the cloud's client cannot stream (GCS, Azure)


def chunk_end(start: int, end: int | None) -> int:
    """Where a request from `start` on ends that may not be longer than `READ_CHUNK_BYTES`."""
    longest = start + READ_CHUNK_BYTES
    return longest if end is None else min(end, longest)


def delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row (1 or more): exponential, the upper half at random."""
    return min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)

"""What the plan asks of a node while it reads: lanes that are open, samples that are held, bytes that come twice."""

from dataclasses import dataclass

from pipeline.order import plan
from pipeline.order.plan import Order


@dataclass(frozen=True)
class Reads:
    """Of one node: `lanes` that are open at a time, each over a connection of its own; `held` samples, at most.

    `times`: how often each byte of the data set is read in an epoch, on all nodes together.
    """

    lanes: int
    held: int
    times: int


def reads(order: Order, samples: int, consumers: int, here: int, sets: int = 1) -> Reads:
    """What `here` of a run's `consumers` open and hold; where epochs meet, lanes of both are open for some steps.

    Of several sets each lane reads each by itself, and parts of the window are rounded up.
    """
    lanes = here * plan.lanes_a_consumer(consumers, order.lanes)
    held = lanes * min(order.window + sets - 1, plan.lane_length(samples, order.lanes, 0))
    return Reads(lanes * sets, held, plan.readers_per_lane(consumers, order.lanes))

"""A node of a training job on paper: how much of the time its GPUs would wait for clips, why, and what would help.

The parts work side by side: clips come as fast as the slowest of them lets them. So each part has a limit, in clips a
second for the whole node, and the lowest one holds. `benchmarks.node_plan` says how near that is to real runs.
"""

from dataclasses import dataclass
from math import ceil, inf, log

from pipeline.measuring.rates import Rates
from pipeline.order import plan
from pipeline.order.reads import reads

NETWORK, DECODING, HANDOVER, STEP = "the network", "decoding", "the hand-over", "the GPU's step"
_NO_WAIT = 0.005  # share of the time


@dataclass(frozen=True)
class Node:
    """A node, and the job's part on it; the job has `nodes` of them.

    `store_mb_s`: what the store gives this node; `step_rate`: clips/s of one GPU that waits for nothing;
    `gpu_cores`: cores that the training process of a GPU keeps busy; `memory_gb`: None where it is not to be checked.
    """

    gpus: int
    cores: float
    workers: int
    store_mb_s: float
    step_rate: float
    global_batch: int
    order: plan.Order
    nodes: int = 1
    cache_gb: float = 0.0
    memory_gb: float | None = None
    gpu_cores: float = 1.0

    @property
    def consumers(self) -> int:
        """Loader processes on all nodes."""
        return self.nodes * self.gpus * self.workers


@dataclass(frozen=True)
class Outlook:
    """`limits`: clips/s that each part of a node can do at most; `memory`: bytes that loading takes of it."""

    limits: dict[str, float]
    wanted: float
    "Clips/s that the GPUs would train on."
    reads: float
    "How often each byte comes over the network, in an epoch but the first."
    memory: float

    @property
    def limit(self) -> str:
        """The part that holds the others up."""
        return min(self.limits, key=self.limits.__getitem__)

    @property
    def rate(self) -> float:
        """Clips/s."""
        return self.limits[self.limit]

    @property
    def data_wait(self) -> float:
        """Share of the time in which the GPUs have nothing to train on."""
        return 1 - self.rate / self.wanted


def outlook(rates: Rates, node: Node) -> Outlook:
    """What is to be expected."""
    processes = node.gpus * node.workers
    times = reads(node.order, rates.samples, node.consumers, processes)
    over_network = times.times * (1 - kept_share(node.cache_gb * 1e9, rates, node.nodes))
    bytes_a_clip = rates.read_bytes * over_network
    cores = max(min(processes, node.cores - node.gpus * node.gpu_cores), 0.0)
    wanted = node.gpus * node.step_rate
    ahead = rates.steps_ahead * node.global_batch * rates.clips_a_sample / node.nodes
    return Outlook(
        limits={
            NETWORK: node.store_mb_s * 1e6 / bytes_a_clip if bytes_a_clip else inf,
            DECODING: cores / rates.worker_s,
            HANDOVER: node.gpus / rates.handover_s,
            STEP: wanted,
        },
        wanted=wanted,
        reads=over_network,
        memory=processes * rates.worker_bytes + times.held * rates.sample_bytes + ahead * rates.clip_bytes,
    )


def kept_share(cache_bytes: float, rates: Rates, nodes: int) -> float:
    """Share of what a node reads that its cache has, once it is full; what was used longest ago makes room.

    Each epoch has the shards in another order, so that a cache for half of them has far less than half of the next
    ones: of a shard at x of one epoch and at y of the next (shares of an epoch, both uniform), all but x (1 - y) of
    the set was used in between. Of several nodes, each reads its part, at random, of each epoch: its cache has the
    shards of its last k epochs, and at y of an epoch a shard was read in the last k - y of them, or not.
    """
    return kept(cache_bytes / (rates.samples * rates.sample_bytes), nodes)


def kept(share: float, nodes: int) -> float:
    """The same of a cache that holds this share of the set."""
    if share >= 1:
        return 1.0
    if nodes == 1:
        left = 1 - share
        return 1 - left * (1 - log(left))
    others = log(nodes / (nodes - 1))  # of a shard's not being this node's in an epoch, the logarithm
    epochs = -log(1 - share) / others
    if epochs < 1:
        return epochs - share / others
    return 1 - (1 - share) / (nodes - 1) / others


def advice(found: Outlook, rates: Rates, node: Node) -> str:
    """One sentence on what to change."""
    if node.memory_gb is not None and found.memory > node.memory_gb * 1e9:
        return (
            f"loading takes more than the {node.memory_gb:g} GB of memory: lower data.workers or data.window"
        )
    if found.data_wait < _NO_WAIT:
        return "nothing: the GPUs do not wait for clips"
    match found.limit:
        case limit if limit == NETWORK:
            needed = found.wanted * rates.read_bytes * found.reads / 1e6
            size = rates.samples * rates.sample_bytes / 1e9
            return (
                f"the node needs {needed:,.0f} MB/s of the store; or a data.cache of {size:,.0f} GB, which holds the "
                "set, or more clips of each video (data.repeats)"
            )
        case limit if limit == DECODING:
            needed_cores = ceil(found.wanted * rates.worker_s)
            workers = ceil(needed_cores / node.gpus)
            cores = ceil(node.gpus * (workers + node.gpu_cores))
            if cores <= node.cores:
                return f"data.workers={workers}: {needed_cores} loader processes keep up with the GPUs"
            return (
                f"{cores} cores, with data.workers={workers}; or shards of a smaller --short-side, or more clips of "
                "each video (data.repeats)"
            )
        case _:
            return (
                f"a training process takes over {1 / rates.handover_s:,.0f} clips/s at most: more memory bandwidth, or "
                "clips of fewer pixels"
            )


def lines(rates: Rates, node: Node) -> list[str]:
    """The outlook for a user."""
    found = outlook(rates, node)
    of_nodes = f", one of {node.nodes}" if node.nodes > 1 else ""
    rows = [
        ("node", f"{node.gpus} GPUs, {node.cores} cores, {node.workers} loader processes a GPU{of_nodes}"),
        ("a clip", f"{rates.read_bytes / 1e6:.2f} MB to read, {1000 * rates.worker_s:.2f} ms of a core, "
                   f"{1000 * rates.handover_s:.3f} ms of hand-over"),
        ("read", f"{found.reads:.2f} times in an epoch but the first, over {node.store_mb_s:,.0f} MB/s"),
        *((f"limit of {part}", f"{limit:,.0f} clips/s" if limit < inf else "none")
          for part, limit in found.limits.items()),
        ("memory", f"{found.memory / 1e9:,.1f} GB for loading"),
        ("clips/s", f"{found.rate:,.0f} of {found.wanted:,.0f}"),
        ("data wait", f"{max(found.data_wait, 0):.0%} of the time; the limit is {found.limit}"),
        ("to change", advice(found, rates, node)),
    ]  # fmt: skip
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]

"""Proves from a run's audit logs that every sample was used once, in the planned order, or says where it was not.

python -m pipeline.audit runs/50-f8x2
"""

from collections.abc import Sequence

from pipeline.run.audit_record import MOST
from pipeline.run.proof import Proof, Uses, prove
from sharding.arguments import Arguments, place
from sharding.errors import one_line_errors


def parser() -> Arguments:
    """The options."""
    parser = Arguments(
        prog="python -m pipeline.audit",
        description="Prove from a run's audit logs that every sample was used once, in the planned order.",
    )
    parser.add_argument("run", type=place, help="run folder or URL")
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 where the record refutes the plan."""
    proof = prove(parser().parse_args(argv).run)
    for finding in proof.findings:
        print(finding)
    for name, value in _table(proof):
        print(f"{name:<11}  {value}")
    if proof.findings:
        print(
            f"refuted: {len(proof.findings)} findings{', and no more looked for' * (len(proof.findings) >= MOST)}"
        )
        return 1
    but = ", but for the replaced ones" if proof.replaced else ""
    often = "as often as its set's weight says" if proof.sets else "once"
    print(f"proven: each of these samples was used {often} in its epoch, in the planned order{but}")
    return 0


def _table(proof: Proof) -> list[tuple[str, str]]:
    to_come = f", and that after step {proof.to_evaluate} is still to be done" if proof.to_evaluate else ""
    if proof.old_starts:
        to_come += f"; none is expected of {proof.old_starts} starts, recorded by an earlier version"
    epochs, steps = divmod(proof.steps, max(proof.steps_in_epoch, 1))
    reach = f"; epoch {epochs} up to step {steps} of {proof.steps_in_epoch}" if steps else ""
    restarts = f" (after step {', '.join(map(str, proof.restarts))})" if proof.restarts else ""
    return [
        ("epochs", f"{epochs} whole{reach}"),
        ("steps", str(proof.steps)),
        ("samples", f"{proof.samples}, and {proof.left_out} left out with last partial batches"),
        *((f"set {number}", _used(uses)) for number, uses in enumerate(proof.sets)),
        ("replaced", f"{proof.replaced} of them, which are damaged"),
        ("restarts", f"{len(proof.restarts)}{restarts}"),
        ("evaluations", f"{proof.evaluations}{to_come}"),
    ]


def _used(uses: Uses) -> str:
    times = f"{uses.least} to {uses.most}" if uses.least < uses.most else str(uses.most)
    return f"{uses.used} of these, each of the {uses.samples} samples of {uses.url} {times} times"


if __name__ == "__main__":
    raise SystemExit(main())

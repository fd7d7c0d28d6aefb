"""`blvnet-launch kubernetes train` and `shard`: write the objects as YAML, for kubectl."""

import argparse
import re
from typing import TYPE_CHECKING

from launch import kubernetes, options
from launch.slurm_shard import check_build, of_finalize
from sharding.arguments import Arguments
from sharding.errors import UserError

if TYPE_CHECKING:
    from launch.kubernetes import Object

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?")  # with a pod's number behind it, a host's name
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([KMGTPE]i|[kMGTPE])?")
_OURS = ("/dev/shm", "/etc/blvnet")


def add(commands: "argparse._SubParsersAction[Arguments]") -> None:
    """The commands' options."""
    kube = commands.add_parser(
        "kubernetes", help="write a job for Kubernetes", description="Write a job for Kubernetes, as YAML."
    )
    jobs = kube.add_subparsers(required=True, metavar="JOB")
    train = jobs.add_parser(
        "train",
        help="training on several nodes",
        description="Write an Indexed Job that trains on several nodes, its headless service and its configuration.",
    )
    options.add_nodes(train, "pods, each on a node (default: 1); 2:4: it goes on with 2 to 4")
    options.add_count(train, "--gpus", "GPUs of each (default: none)")
    options.add_count(train, "--cpus", "cores of each (default: what its processes and loaders keep busy)")
    _add_pod(train, "blvnet-train")
    options.add_unchecked(train)
    options.add_config(train)
    train.set_defaults(run=_train)

    shard = jobs.add_parser(
        "shard",
        help="sharding on many machines",
        usage="blvnet-launch kubernetes shard --tasks N --image IMAGE [options] [OPTIONS OF blvnet-shard build]",
        description="Write an Indexed Job that builds the shards, and a suspended one that writes the manifests.",
        allow_abbrev=False,
    )
    options.add_count(shard, "--tasks", "parts that the work is cut into", required=True)
    options.add_count(shard, "--cpus", "cores of each task (default: 1)", default=1)
    _add_pod(shard, "blvnet-shard")
    shard.set_defaults(run=_shard, build=[])


def _add_pod(command: Arguments, name: str) -> None:
    command.add_argument(
        "--image", type=_image, required=True, metavar="IMAGE", help="image that has the project"
    )
    command.add_argument("--name", type=_name, default=name, help=f"of the job (default: {name})")
    command.add_argument("--mem", type=_quantity, metavar="SIZE", help="memory of each pod, such as 64Gi")
    command.add_argument(
        "--secret", type=_object, metavar="NAME", help="secret whose keys become variables: credentials"
    )
    command.add_argument(
        "--service-account",
        type=_object,
        metavar="NAME",
        help="account of the pods: a cloud's credentials",
    )
    command.add_argument(
        "--volume",
        type=_volume,
        action="append",
        default=[],
        metavar="CLAIM:/PATH",
        help="volume claim that all pods mount; may be repeated",
    )


def _train(args: argparse.Namespace) -> int:
    from pipeline import config as configuration
    from pipeline.checking import request

    config = configuration.load(args.config, args.overrides)
    processes = args.gpus or 1
    if not args.unchecked:
        request.check(config, args.nodes[-1] * processes, sizes=options.sizes(args.nodes, processes))
    pod = _pod(args, args.cpus or options.cores(config, processes), args.gpus or 0)
    objects = kubernetes.training(args.name, args.nodes, pod, configuration.dump(config))
    print(text(objects, [f"kubectl logs --follow --prefix --selector=job-name={args.name}"]), end="")
    return 0


def _shard(args: argparse.Namespace) -> int:
    found = check_build(args.build)
    pod = _pod(args, args.cpus, 0)
    objects = kubernetes.sharding(args.name, args.tasks, pod, args.build, [found.out, *of_finalize(found)])
    then = [
        f"kubectl wait --for=condition=complete --timeout=-1s job/{args.name}",
        f'kubectl patch job/{args.name}-finalize --patch \'{{"spec": {{"suspend": false}}}}\'',
    ]
    print(text(objects, then), end="")
    return 0


def text(objects: "list[Object]", then: list[str]) -> str:
    """The objects as YAML, headed by what to do with the file and `then`."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Keeps the lines of texts."""

    def lined(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)

    Dumper.add_representer(str, lined)
    lines = ["kubectl apply --filename THIS_FILE", *then]
    head = "".join(f"# {line}\n" for line in lines)
    return head + str(
        yaml.dump_all(
            objects, Dumper=Dumper, sort_keys=False, width=200, explicit_start=True, allow_unicode=True
        )
    )


def _pod(args: argparse.Namespace, cpus: int, gpus: int) -> kubernetes.Pod:
    volumes: dict[str, str] = {}
    for claim, path in args.volume:
        if path in volumes or path in _OURS:
            raise UserError(f"--volume {claim}:{path}: another volume is mounted there; name another path")
        volumes[path] = claim
    return kubernetes.Pod(args.image, cpus, gpus, args.mem, args.secret, args.service_account, volumes)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r}: small letters, digits and hyphens, at most 52, a letter first"
        )
    return text


def _object(text: str) -> str:
    if not _OBJECT.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r}: Kubernetes has names of small letters, digits, hyphens and dots, at most 253"
        )
    return text


def _image(text: str) -> str:
    if not text or any(letter.isspace() for letter in text):
        raise argparse.ArgumentTypeError(f"{text!r} is no image; write REGISTRY/NAME:TAG")
    return text


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: write a number and Mi, Gi or Ti behind it, as in 64Gi")
    return text


def _volume(text: str) -> tuple[str, str]:
    claim, _, path = text.partition(":")
    if not _OBJECT.fullmatch(claim) or not path.startswith("/") or ":" in path:
        raise argparse.ArgumentTypeError(f"{text!r}: write CLAIM:/PATH")
    return claim, path.rstrip("/") or "/"

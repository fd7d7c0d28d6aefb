"""Kubernetes objects as plain mappings: an Indexed Job of training, one of sharding, and what they need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launch import options

Object = dict[str, Any]
GRACE_S = 90
"""For a last checkpoint, when a pod is told to end."""
_RETRIES = 2  # of a task of sharding
_CONFIG = "/etc/blvnet/run.yaml"
_PORT = 29400


@dataclass(frozen=True)
class Pod:
    """What each pod is given. `volumes`: path and claim; `secret`: its keys become variables of the environment."""

    image: str
    cpus: int
    gpus: int = 0
    mem: str | None = None
    secret: str | None = None
    service_account: str | None = None
    volumes: Mapping[str, str] = field(default_factory=dict)


def training(name: str, nodes: range, pod: Pod, config: str) -> list[Object]:
    """A service by which the pods find each other, the configuration `config` (YAML), and the job.

    A pod that is told to end saves and is started again elsewhere, as often as it takes; a mistake (status 2) ends the
    job at once; anything else is tried three times. `nodes`: how many there may be at once, as pods come and go.
    """
    meeting_point = f"{name}-0.{name}:{_PORT}"
    script = (
        f"exec python -m pipeline.agent {' '.join(options.agent_size(nodes, str(pod.gpus or 1)))} \\\n"
        f"  --rdzv-backend=c10d --rdzv-endpoint={meeting_point} --rdzv-id={name} \\\n"
        "  --rdzv-conf=is_host=$((JOB_COMPLETION_INDEX == 0)) \\\n"
        f"  --local-addr={name}-$JOB_COMPLETION_INDEX.{name} \\\n"
        f"  -m pipeline.train --config {_CONFIG}\n"
    )
    container = {
        **_container("train", pod),
        "command": ["bash", "-c", script],
        "env": [{"name": "TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "value": str(GRACE_S)}],
    }
    container["volumeMounts"] = [
        *container.get("volumeMounts", []),
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "config", "mountPath": _CONFIG.rpartition("/")[0]},
    ]
    spec = _pod_spec(container, pod)
    spec |= {"subdomain": name, "terminationGracePeriodSeconds": GRACE_S + 30}
    spec["volumes"] = [
        *spec.get("volumes", []),
        # Loader processes hand their clips over in it; Docker's default is 64 MB.
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "config", "configMap": {"name": name}},
    ]
    job = _job(name, nodes[-1], spec, "FailJob", stopped=75)
    job["spec"]["backoffLimit"] = 3 * nodes[-1]
    return [
        _object("v1", "Service", name)
        # Pods have names before they are ready, which they are when they have met.
        | {"spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"job-name": name}}},
        _object("v1", "ConfigMap", name) | {"data": {_CONFIG.rpartition("/")[2]: config}},
        job,
    ]


def sharding(name: str, tasks: int, pod: Pod, build: list[str], finalize: list[str]) -> list[Object]:
    """A job of `tasks` builds, and one that writes the manifests, suspended until the first is complete.

    `build`, `finalize`: arguments of these commands of `blvnet-shard`.
    """
    # Kubernetes puts the variable's value in its place.
    mine = ["--task-index", "$(JOB_COMPLETION_INDEX)", "--task-count", str(tasks), "--workers", str(pod.cpus)]
    container = {**_container("build", pod), "command": ["blvnet-shard", "build", *mine, *_plain(build)]}
    job = _job(name, tasks, _pod_spec(container, pod), "FailIndex", stopped=130)
    job["spec"]["backoffLimitPerIndex"] = _RETRIES
    container = {**_container("finalize", pod), "command": ["blvnet-shard", "finalize", *_plain(finalize)]}
    last = _object("batch/v1", "Job", f"{name}-finalize")
    last["spec"] = {
        "suspend": True,
        "backoffLimit": _RETRIES,
        "template": {"spec": _pod_spec(container, pod)},
    }
    return [job, last]


def _plain(words: list[str]) -> list[str]:
    """`words` as Kubernetes is told them in a command, where `$(NAME)` stands for a variable."""
    return [word.replace("$", "$$") for word in words]


def _object(version: str, kind: str, name: str) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def _job(name: str, pods: int, spec: Object, on_mistake: str, stopped: int) -> Object:
    """A job whose pods have numbers, all at once. Status `stopped`, of a pod that was told to end, is no failure."""

    def ended(status: int) -> Object:
        return {"operator": "In", "values": [status]}

    rules = [
        {"action": on_mistake, "onExitCodes": ended(2)},
        {"action": "Ignore", "onExitCodes": ended(stopped)},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    job = _object("batch/v1", "Job", name)
    job["spec"] = {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "podFailurePolicy": {"rules": rules},
        "template": {"spec": spec},
    }
    return job


def _container(name: str, pod: Pod) -> Object:
    requests: Object = {"cpu": pod.cpus}
    if pod.mem:
        requests["memory"] = pod.mem
    resources: Object = {"requests": requests}
    if pod.gpus:
        resources["limits"] = {"nvidia.com/gpu": pod.gpus}
    made: Object = {"name": name, "image": pod.image, "resources": resources}
    if pod.secret:
        made["envFrom"] = [{"secretRef": {"name": pod.secret}}]
    if pod.volumes:
        names = _volume_names(pod)
        made["volumeMounts"] = [
            {"name": names[claim], "mountPath": path} for path, claim in pod.volumes.items()
        ]
    return made


def _pod_spec(container: Object, pod: Pod) -> Object:
    spec: Object = {"restartPolicy": "Never"}
    if pod.service_account:
        spec["serviceAccountName"] = pod.service_account
    claims = [
        {"name": name, "persistentVolumeClaim": {"claimName": claim}}
        for claim, name in _volume_names(pod).items()
    ]
    return spec | {"containers": [container]} | ({"volumes": claims} if claims else {})


def _volume_names(pod: Pod) -> dict[str, str]:
    """By claim: of the pod's own kind, as a claim may be called what a volume may not."""
    return {claim: f"claim-{i}" for i, claim in enumerate(dict.fromkeys(pod.volumes.values()))}

"""The typed configuration of a run: YAML files and dotted overrides in, one frozen `Config` out. No torch.

    python -m pipeline.config       # every key, with its default and what it does

A file may name another one as its `base`, relative to itself, and then states only what differs. It may offer
several `recipes`; the key `recipe` chooses one, which lies beneath all that the files and overrides state. An
unknown key, a value of the wrong type or a broken file is a `UserError` that names it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from pipeline.settings import keys, page, tree
from sharding.arguments import Arguments, place
from sharding.errors import UserError as UserError  # launch, which imports no other room, takes it from here
from sharding.errors import one_line_errors

Place = Annotated[str, Field(min_length=1), AfterValidator(place)]
"""A path or URL."""

Weight = Annotated[float, Field(gt=0, le=1000, strict=True)]
"""Of a set in a mixture."""

WINDOW = 1024
"""The default of `data.window`."""
FLOW_CHANNELS = 10
"""`model.in_channels` of optical flow: five steps, each of x and y."""


class Section(BaseModel):
    """A part of the configuration: immutable, and a key that it does not know is an error."""

    # The sentence under a key is its description: in the table of keys and in the JSON schema.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = get_args(cls.model_fields[str(info.field_name)].annotation) or (
            cls.model_fields[str(info.field_name)].annotation,
        )
        if isinstance(value, bool) and bool not in kinds:
            raise PydanticCustomError("no_number", "true is no number")
        return value


class Model(Section):
    """The network, as the paper names its parts. The number of classes comes from the shards."""

    depth: Literal[26, 50, 101, 152] = 50
    "Layers of the residual network: 50 and 101 are the paper's, 26 is for trying things."
    num_frames: Annotated[int, Field(ge=2, multiple_of=2)] | Literal[1] = 16
    "Frames of a clip, an even number: 16 for the model that the paper calls f8x2. 1: a network of single images."
    alpha: Literal[1, 2, 4, 8, 16, 32, 64] = 2
    "The little branch has this part of the big one's channels (paper, section 3.1)."
    beta: int = Field(4, ge=1)
    "The little branch has this part of the big one's blocks (paper, section 3.1)."
    blending_frames: int = Field(3, ge=1)
    "Frames over which a temporal aggregation module blends each channel: its own and its neighbours."
    dropout: float = Field(0.5, ge=0, lt=1)
    "Share of the features that dropout removes before the classifier."
    in_channels: Literal[3, 10] = 3
    "Channels of a clip's frame: 3 of colour, or 10 of optical flow, x and y of five steps, from a set of flow."


class Data(Section):
    """Where the clips come from and how they are cut."""

    root: Place
    "Folder or bucket URL that holds the splits' folders."
    train: str = Field("train", min_length=1)
    "Name of the split that is trained on."
    validation: str = Field("validation", min_length=1)
    "Name of the split that is evaluated between epochs."
    mix: dict[Place, Weight] = {}
    "Further shard sets to train on, each `root: weight`; a sample of theirs comes `weight` times an epoch on average."
    size: int = Field(224, ge=32)
    "Height and width of a clip, in pixels."
    short_side: int = Field(256, ge=32)
    "Validation frames are resized to this shorter side, in pixels, before the centre crop."
    sampling: Literal["segment", "reference", "dense"] = "segment"
    "Training frames: one from each segment of the video; the reference's rule, which never sees the tail; or as below."
    dense_stride: int = Field(2, ge=1)
    "Dense training clips take every so many-th frame from a random start."
    frames_per_group: int = Field(1, ge=1)
    "Frames in a row from each segment of a video, which are fewer then; in evaluation too. Not in dense clips."
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    "Shares of the shorter side that a training crop may have."
    flip: Literal["label", "reference", "none"] = "label"
    "Mirrored training clips: label exchanges left and right in the class, reference keeps the class."
    repeats: int = Field(1, ge=1)
    "Clips that are cut from each decoded video: of the same frames, each with its own crop, so a step has more clips."
    workers: int = Field(4, ge=0)
    "Loader processes a rank; 0 decodes in the training process."
    window: int = Field(WINDOW, ge=1)
    "Samples that the run holds for mixing, divided by its lanes (64 of 16): a sample moves less than its lane's share."
    lanes: int | None = Field(None, ge=1)
    "Sequential readers' lanes; by default a multiple of ranks x workers, as many as a step has videos (see stopping)."
    cache: Place | None = None
    "Local folder in which shards are kept for the next epoch, shared by all ranks of a node; null: always streamed."
    cache_gb: float = Field(100.0, gt=0)
    "What the cache may hold, in units of 10^9 bytes; what was used longest ago makes room."
    films: Literal["decode", "jpeg"] = "decode"
    "Shards of films (build --store film): each clip decodes its film, or the cache turns them to shards of JPEGs."
    corrupt: Literal["stop", "replace"] = "stop"
    "Damaged training samples end the run, or are replaced by the lane's previous good one. Evaluation always ends."
    corrupt_budget: float = Field(0.001, ge=0, le=1)
    "Share of an epoch's samples that may be replaced; more end the run."

    @model_validator(mode="after")
    def _crops_fit(self) -> "Data":
        if self.size > self.short_side:
            raise ValueError(f"size {self.size} is more than short_side {self.short_side}")
        if self.cache and "://" in self.cache:
            raise ValueError(f"cache {self.cache} is no folder of this machine")
        if self.films == "jpeg" and not self.cache:
            raise ValueError("films jpeg needs a folder for the shards of JPEGs: set data.cache")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales {list(self.scales)} must be one or more shares in (0, 1]")
        return self


class Augment(Section):
    """What changes the pixels of training clips; the same on any number of ranks."""

    operations: int = Field(0, ge=0, le=8)
    "Operations of RandAugment on each clip, all its frames alike; none of them mirrors. 0: none."
    strength: float = Field(0.9, ge=0, le=1)
    "How strong they are; at 1 a rotation is of 30 degrees."
    jitter: float = Field(0.0, ge=0, lt=1)
    "Brightness, contrast and saturation of each clip change by up to this share."
    mixup: float = Field(0.0, ge=0)
    "Two clips of a batch are blended into two others, by a share from Beta(mixup, mixup); 0: none are."


class Views(Section):
    """The views of a video that evaluation and prediction average; in training, the validation's."""

    clips: int = Field(1, ge=1)
    "Clips of a video, each of `model.num_frames` frames."
    crops: Literal[1, 3, 5, 10] = 1
    "1: the centre; 3: both ends of the longer side, and the centre; 5: corners and centre; 10: these, mirrored too."
    sampling: Literal["uniform", "dense", "random"] = "uniform"
    "uniform: a clip spans the video; dense: every `dense_stride`-th frame; random: as in training, by the video's key."
    dense_stride: int = Field(2, ge=1)
    "Frames from one frame of a dense clip to the next."
    size: Annotated[int, Field(ge=32)] | Literal["full"] | None = None
    "Pixels of a view's sides, by default `data.size`; full: the whole frame, its shorter side at `data.short_side`."

    @model_validator(mode="after")
    def _whole_frames_are_not_cropped(self) -> "Views":
        if self.size == "full" and self.crops != 1:
            raise ValueError(f"size full has one crop, not {self.crops}")
        return self


class Optim(Section):
    """Stochastic gradient descent with the paper's recipe (section 4.1)."""

    global_batch: int = Field(64, ge=1)
    "Clips a step, on all ranks together; `data.repeats` times as many where a video gives several."
    epochs: int = Field(50, ge=1)
    "Passes over the training split; its last partial batch is left out of each."
    lr: float = Field(0.01, gt=0)
    "Learning rate at `lr_batch` clips a step; scaled linearly with the clips of a step."
    lr_batch: int = Field(64, ge=1)
    "Clips a step for which `lr` is meant."
    schedule: Literal["cosine", "cosine_by_step", "steps", "multistep", "plateau", "constant"] = "cosine"
    "A cosine, for each epoch or each step; or divisions by 10, as told below, that come between epochs only."
    lr_end: float = Field(0.0, ge=0, le=1)
    "Share of the rate to which a cosine falls."
    step_epochs: int = Field(10, ge=1)
    "steps: the epochs between two divisions."
    milestones: tuple[int, ...] = ()
    "multistep: the epochs, counted from 0, that start with a division."
    patience: int = Field(3, ge=1)
    "plateau: a division follows so many evaluations in a row without a better validation."
    plateau_of: Literal["top1", "loss"] = "top1"
    "plateau: better is a higher top-1 (mAP with several labels), or a loss lower by 0.01 % (the reference's)."
    warmup_epochs: float = Field(0.0, ge=0)
    "The rate grows linearly, step by step, over the first epochs; cosine_by_step begins to fall behind them."
    classifier_lr: float = Field(1.0, gt=0)
    "The classifier's learning rate, as a multiple of all other weights'."
    momentum: float = Field(0.9, ge=0, lt=1)
    "Share of its last change that a weight changes by again."
    nesterov: bool = True
    "Momentum in Nesterov's form."
    weight_decay: float = Field(5e-4, ge=0)
    "What is added to each gradient, times the weight."
    decay_norms: bool = True
    "Weight decay on the scales and biases of batch norms and on the classifier's bias too, as the paper's code has it."
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    "Share of each label that is spread over all classes; of several labels, of its way to a half."
    clip_norm: float | None = Field(None, gt=0)
    "Gradients whose norm, over all weights together, is larger are scaled down to it."
    accumulate: int = Field(1, ge=1)
    "Parts that a rank's clips of a step are computed in, one after another: less memory, the same global batch."
    frozen_norm: Literal["none", "all", "all_but_first"] = "none"
    "Batch norms that use their stored statistics and do not update them; the first is the stem's."
    sync_norm: bool = False
    "Batch norms take their statistics over the clips of all ranks; on GPUs only."
    unbiased_norm: bool = True
    "Running statistics of batch norms leave out the values that they begin with: early evaluations are sound."
    norm_ranks: Literal["all", "main"] = "all"
    "Running statistics of batch norms are averaged over the ranks at every step, or the main process's are taken."
    ema_decay: float | None = Field(None, gt=0, lt=1)
    "Keep a moving average of the weights, in which the old average has this share; it is what is evaluated."

    @model_validator(mode="after")
    def _fits_together(self) -> "Optim":
        if self.schedule == "multistep" and not self.milestones:
            raise ValueError("schedule multistep needs milestones, such as [20, 40]")
        if list(self.milestones) != sorted({epoch for epoch in self.milestones if epoch > 0}):
            raise ValueError(
                f"milestones {list(self.milestones)} must be epochs from 1 on, each later than the last"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("momentum 0 has no form of Nesterov's; set optim.nesterov=false too")
        return self


class Init(Section):
    """Weights to start from; neither: random."""

    from_: Place | None = Field(None, alias="from")
    "Checkpoint of a model with as many or fewer frames, or of images; a run folder stands for its newest one."
    reference: Place | None = None
    "File in a reference form: a released model, a training checkpoint, or an ImageNet bL-ResNet."
    norm_batches: int = Field(0, ge=0)
    "Global batches over which batch-norm statistics are computed anew before the first step; 0: they are kept."

    @model_validator(mode="after")
    def _one_source(self) -> "Init":
        if self.from_ and self.reference:
            raise ValueError("give init.from or init.reference, not both")
        if self.norm_batches and not (self.from_ or self.reference):
            raise ValueError("init.norm_batches needs the weights of init.from or init.reference")
        return self


class Run(Section):
    """The run folder, and when it is written to."""

    folder: Place
    "Folder or bucket URL for the configuration, metrics and checkpoints."
    seed: int = Field(0, ge=0, lt=2**32)
    "Decides the order of samples, what is random in clips, and the first weights."
    device: Literal["auto", "cpu"] = "auto"
    "auto: a GPU for each rank of a host that has them, and an error where torch cannot use them; cpu: none."
    precision: Literal["bf16", "fp16", "tf32", "fp32"] = "bf16"
    "Number format of the network's arithmetic; weights stay in fp32. fp16 has a loss scale; tf32 is fp32 elsewhere."
    compile: bool = False
    "The network goes through torch.compile: a minute or more at the start, faster steps on a GPU."
    blend: Literal["auto", "kernel", "compiled", "convolution"] = "auto"
    "How a GPU blends frames (TAM); auto: the fastest in a trial at the start, kept by a run that goes on."
    deterministic: bool = False
    "Only algorithms with bit-equal results from run to run."
    log_steps: int = Field(20, ge=1)
    "Steps between two lines of metrics."
    checkpoint_steps: int | None = Field(None, ge=1)
    "Steps between two checkpoints, beside the one at the end of every epoch."
    checkpoint_minutes: float | None = Field(None, gt=0)
    "Minutes between two checkpoints, beside those: what a failure costs at most."
    checkpoint_patience_minutes: float = Field(30.0, gt=0)
    "Minutes for which training goes on while the run folder cannot be written; then it ends."
    keep: int = Field(3, ge=1)
    "Newest checkpoints that are kept, beside the best."
    evaluate_epochs: int = Field(1, ge=1)
    "Epochs between two evaluations; the last epoch is always evaluated."
    audit: bool = False
    "Each rank writes down the keys of every batch."
    max_nonfinite: int = Field(10, ge=1)
    "Steps in a row whose loss or gradients are not finite end the run; a single one is skipped, counted, written down."
    timeout_s: float = Field(1800.0, gt=0)
    "Seconds without progress after which a rank ends the run, its stack in the log."


class Config(Section):
    """Everything that a run depends on."""

    model: Model = Model()
    data: Data
    augment: Augment = Augment()
    views: Views = Views()
    optim: Optim = Optim()
    init: Init = Init()
    run: Run

    @model_validator(mode="after")
    def _clips_fit(self) -> "Config":
        if self.model.num_frames % self.data.frames_per_group:
            raise ValueError(
                f"data.frames_per_group {self.data.frames_per_group} must divide model.num_frames "
                f"{self.model.num_frames}"
            )
        if self.model.in_channels != 3 and (self.augment.operations or self.augment.jitter):
            raise ValueError(
                "model.in_channels 10 is optical flow, and augment changes colours; set augment.operations=0 and "
                "augment.jitter=0"
            )
        return self

    @model_validator(mode="after")
    def _views_fit(self) -> "Config":
        if isinstance(self.views.size, int) and self.views.size > self.data.short_side:
            raise ValueError(
                f"views.size {self.views.size} is more than data.short_side {self.data.short_side}"
            )
        return self


def load(name: str, overrides: Sequence[str]) -> Config:
    """The configuration in a YAML file, changed by `key.path=value` overrides.

    `name`: the file's path or URL, or the name of a shipped configuration (`blvnet-tam-50-f8x2-v2`).
    """
    found, path = tree.read(name)
    return override(found, overrides, path)


def override(settings: dict[str, Any], overrides: Sequence[str], source: str) -> Config:
    """The configuration in the mapping `settings`, named `source` in errors, changed by `overrides`."""
    for text in overrides:
        tree.override(settings, text)
    try:
        return Config.model_validate(tree.with_recipe(settings, source))
    except ValidationError as error:
        typed = [text.partition("=")[0] for text in overrides]
        raise UserError("; ".join(dict.fromkeys(_told(e, typed, source) for e in error.errors()))) from None


def dump(config: Config) -> str:
    """The configuration in full, as YAML that `load` reads back."""
    return str(yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False))


def defaults() -> dict[str, Any]:
    """Each setting's default, nested as `Config` is dumped; "-" for `data.root` and `run.folder`, which have none."""
    plain = Config(data=Data(root="-"), run=Run(folder="-"))
    return plain.model_dump(mode="json", by_alias=True)


def _told(error: ErrorDetails, typed: list[str], source: str) -> str:
    """One error in words, and where it was made: on the command line, which gave the keys `typed`, or in `source`."""
    key = ".".join(str(part) for part in error["loc"])
    below = [path for path in typed if path.startswith(f"{key}.")]
    if error["type"] == "extra_forbidden" and below:  # of a section that is none
        key = below[0]
    where = "command line" if any(f"{key}.".startswith(f"{path}.") for path in typed) else source
    if error["type"] == "value_error":  # of this file's own checks, which name the keys
        words = str(error["ctx"]["error"])
        named = [path for path in typed if path.rpartition(".")[2] in words.replace(".", " ").split()]
        where = "command line" if named else source
        section = key if key and not words.startswith(f"{key}.") else ""
        return f"{where}: {section}{': ' if section else ''}{words}"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}; {keys.advice(key, Config)}"
    if error["type"] == "missing":
        return f"{where}: {keys.missing(key, Config)}"
    return f"{where}: {keys.problem(key, error['input'], Config)}"


def parser() -> Arguments:
    """The options."""
    parser = Arguments(
        prog="python -m pipeline.config",
        description="Print every key of a configuration, with its default, the values it takes and what it does.",
    )
    parser.add_argument("--markdown", action="store_true", help="as docs/settings.md has it")
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    if parser().parse_args(argv).markdown:
        print(page.page(Config), end="")
    else:
        print("\n".join(keys.as_text(Config)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What a study is made of: the composed YAML of conf/, checked at the door and then read-only.

    composition.compose(["experiment=demo"])  ->  Config        (or the entry point does it)

Attributes are named as the keys in YAML are. The selection (`concept`, `anchor`, `delta`, `extra`)
becomes `products`; see `grid.cells`. Parts that are swapped by config (a dataset, a task's model,
the judge, the transfer method) are kept as plain dictionaries with a `_target_`, for
`hydra.utils.instantiate`:

    instantiate(config.dataset["tiny_shapes"].node)      instantiate(config.model.judge)
    instantiate(config.model.tasks["generation"])        instantiate(config.transfer)

Nodes whose `_target_` is a class of this package have a schema here (`SCHEMAS`); a user's own
classes take the keys they like.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from vwtransfer.config.schema import Bounds, Template

Node = Mapping[str, Any]
Dtype = Literal["float32", "float16", "bfloat16"]
Attention = Literal["sdpa", "eager"]
Saving = Literal["attention_slicing", "vae_slicing", "vae_tiling", "gradient_checkpointing"]
WordFormat = Literal["diffusers", "a1111"]
Count = Annotated[int, Bounds(least=1)]
Positive = Annotated[float, Bounds(above=0)]
Step = Annotated[float, Bounds(above=0, most=1e30)]  # Adam divides it, in float32
Share = Annotated[float, Bounds(above=0, most=1)]
Prompt = Annotated[str, Template()]


@dataclass(frozen=True)
class Training:
    """How a task's words are optimised (table 2 of the paper)."""

    learning_rate: Step
    steps: Count
    batch_size: Count


@dataclass(frozen=True)
class Generation:
    """A text-to-image model.

    Attributes:
        memory: what is traded for time.
        image_size: pixels of a side; None: as the checkpoint states.
        images_per_word: drawn for a trial of generation accuracy; 1 as published.
    """

    checkpoint: str
    revision: str | None
    dtype: Dtype
    template: Prompt
    training: Training
    denoising_steps: Count
    guidance_scale: Annotated[float, Bounds(least=0)]
    images_per_word: Count
    image_size: Count | None
    attention: Attention | None
    compiled: bool
    channels_last: bool
    memory: tuple[Saving, ...]


@dataclass(frozen=True)
class Detection:
    """An open-vocabulary detector.

    Attributes:
        positive_iou: least overlap with an annotated box at which a region is the target's.
        negatives: how many of the other regions count, by objectness; None: all of them.
        max_boxes: predictions kept for an image.
    """

    checkpoint: str
    revision: str | None
    dtype: Dtype
    template: Prompt
    training: Training
    positive_iou: Share
    negatives: Count | None
    max_boxes: Count
    attention: Attention | None
    compiled: bool


@dataclass(frozen=True)
class Classification:
    """An image-text model that classifies by prompts.

    Attributes:
        target_share: share of a training batch that shows the concept.
    """

    checkpoint: str
    revision: str | None
    dtype: Dtype
    template: Prompt
    training: Training
    target_share: Annotated[float, Bounds(above=0, below=1)]
    compiled: bool


@dataclass(frozen=True)
class Judge:
    """The image-text model that says what a generated image shows."""

    checkpoint: str
    revision: str | None
    dtype: Dtype
    template: Prompt
    attention: Attention | None


@dataclass(frozen=True)
class SafetyChecker:
    """The model that flags unsafe generations."""

    checkpoint: str
    revision: str | None
    dtype: Dtype


SCHEMAS: Mapping[str, type] = {
    "vwtransfer.tasks.generation.Generation": Generation,
    "vwtransfer.tasks.detection.Detection": Detection,
    "vwtransfer.tasks.classification.Classification": Classification,
    "vwtransfer.models.judge.Judge": Judge,
    "vwtransfer.models.safety.SafetyChecker": SafetyChecker,
}


@dataclass(frozen=True)
class DatasetConfig:
    """What every dataset says of itself.

    Attributes:
        name: as in results and file names.
        concepts: concept -> its name in prompts.
        anchors: vocabulary words, the i-th paired with the i-th concept.
        training_images: how many a word is trained on.
        held_out_images: how many of a concept are measured on.
        seed: of the choice, or the drawing, of images.
        node: all of it, with `_target_` and its further keys.
    """

    name: str
    concepts: Mapping[str, str]
    anchors: tuple[str, ...]
    training_images: Annotated[int, Bounds(least=2)]
    held_out_images: Count
    seed: Annotated[int, Bounds(least=0)]
    node: Node


@dataclass(frozen=True)
class ModelConfig:
    """A suite of models that are compared.

    Attributes:
        support: file of the words, one a line, that the least squares and the radius of the delta
            ball take into account; None: all shared tokens but the special ones.
        tasks: task -> its model's node. Any role but the judge and the safety checker is a task.
        judge: the judge's node.
        safety: the safety checker's node; None: images are not checked.
    """

    name: str
    support: Path | None
    tasks: Mapping[str, Node]
    judge: Node | None
    safety: Node | None


@dataclass(frozen=True)
class TrainerConfig:
    """What is the same for every task (table 2 of the paper).

    Attributes:
        vectors: embedding vectors of a word.
        checkpoint_every: steps between two checkpoints.
        max_words_in_flight: words of a chunk; None: as many as memory allows.
        outside_penalty, early_penalty: weights of what is to make words transfer better
            (`training.transferable`); 0, as published: none.
        jointly_with: the task in whose model all words are trained too, through the study's
            transfer (`training.joint`); None, as published: in none.
    """

    vectors: Count
    betas: tuple[Annotated[float, Bounds(least=0, below=1)], ...]
    eps: Step
    checkpoint_every: Count
    max_words_in_flight: Count | None
    outside_penalty: Annotated[float, Bounds(least=0)] = 0.0
    early_penalty: Annotated[float, Bounds(least=0)] = 0.0
    jointly_with: str | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured beside the words themselves, and kept."""

    baselines: tuple[Literal["anchor", "name", "random"], ...]
    keep_images: bool


@dataclass(frozen=True)
class BenchmarkConfig:
    """What action=benchmark compares.

    Attributes:
        methods: the nodes of transfer methods, each with its `name`.
        half: the concepts whose words are carried; see `leaderboard/development.yaml`.
        words: folder of a study whose words are taken; None: words are trained.
        page: where the leaderboard is written beside the run's folder; None: nowhere.
    """

    methods: Mapping[str, Node]
    half: Literal["development", "final"]
    words: Path | None
    page: Path | None


@dataclass(frozen=True)
class ClusterConfig:
    """Where jobs run and what each is given; no part of what a result is.

    Attributes:
        executor: slurm, or local: processes of this machine.
        partition, account, qos, constraint: SLURM's; None: as the cluster has it.
        gpus, cpus, memory_gb: of a job; memory None: as the cluster has it. Where `threads` says
            nothing, `cpus` are torch's threads.
        hours: a job's time limit; work that takes longer goes on from its checkpoint.
        signal_seconds: how long before its limit a job is told to save.
        restarts: how often a job may come to its time limit.
        running: jobs that run at once, at most.
        queued: jobs of a submission, at most; None: as many as the cluster takes of a user.
        array_size: tasks of a job array, at most; None: as many as the cluster takes.
        setup: lines of shell before the work.
        sbatch: further options of sbatch, such as {exclude: node7}; None: none.
        claim_seconds: without a sign of life for so long, a shard's job counts as dead.
        seconds_per_word: task -> seconds of a job for each of its words, measured beforehand; the
            plan goes by it until words of the study itself are done. None: nothing was.
    """

    executor: Literal["slurm", "local"]
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    gpus: Annotated[int, Bounds(least=0)]
    cpus: Count
    memory_gb: Positive | None
    hours: Positive
    signal_seconds: Count
    restarts: Annotated[int, Bounds(least=0)]
    running: Count
    queued: Count | None
    array_size: Count | None
    setup: tuple[str, ...]
    sbatch: Mapping[str, Any] | None
    claim_seconds: Annotated[float, Bounds(least=1)]
    seconds_per_word: Mapping[str, Positive] | None


@dataclass(frozen=True)
class SubmitConfig:
    """How a study becomes jobs.

    Attributes:
        dry_run: whether what would be submitted is only written down.
        words_per_shard: words of a job at most; None: all anchors and deltas of a concept.
        list_shards: whether a plan names every shard.
    """

    dry_run: bool
    words_per_shard: Count | None
    list_shards: bool = False


@dataclass(frozen=True)
class StatusConfig:
    """How a study is watched.

    Attributes:
        watch: whether it stays on screen until all is done.
        every: seconds between two looks.
    """

    watch: bool
    every: Positive


@dataclass(frozen=True)
class WandbConfig:
    """What is reported to wandb; changes no number of the study.

    Attributes:
        mode: auto is online where there is an API key and the server answers, else offline.
        entity: None: the default one of the API key.
        granularity: a run for each job (shard), or for each word.
        every: training steps between two reports.
        words: whether each word's own loss and distances are reported beside their mean.
        images: pictures of each kind that a run shows.
        patience: seconds that a job waits at its end for what is not yet uploaded.
    """

    mode: Literal["auto", "online", "offline", "disabled"]
    project: str
    entity: str | None
    granularity: Literal["shard", "word"]
    every: Count
    words: bool
    images: Annotated[int, Bounds(least=0)]
    patience: Annotated[float, Bounds(least=0)]


@dataclass(frozen=True)
class CacheConfig:
    """Where what frozen models see in images is kept, for every job and study.

    Attributes:
        folder: None: nothing is kept.
        gigabytes: what it may take.
    """

    folder: Path | None
    gigabytes: Positive


@dataclass(frozen=True)
class Product:
    """Words that are trained: all combinations of concepts, anchors and deltas.

    Attributes:
        concepts: None: all that a dataset has.
        anchors: None: all that a dataset has.
        paired: each concept goes with the anchor of its own place only.
        deltas: inf stands for unconstrained.
    """

    concepts: tuple[str, ...] | None
    anchors: tuple[str, ...] | None
    paired: bool
    deltas: tuple[float, ...]


@dataclass(frozen=True)
class Config:
    """A study.

    Attributes:
        action: what is done with it; see `main.ACTIONS`.
        name: the experiment's; with `outputs` the folder it lives in.
        kept: folder of finished words and rows that git tracks; see `cluster.keep`.
        device: auto, cpu, cuda or cuda:N.
        threads: torch's in a process; None: as many as the machine has cores.
        task: what words are trained for.
        direction: (trained for, evaluated on) of every transfer.
        products: the words; their union is trained.
        dataset: by name.
        transfer: the node of the method, with its `name`.
        benchmark: what action=benchmark compares.
        word: the file of a word to apply or export.
        images: files and folders of images that a word is applied to.
        format: of the file that a word is exported to.
        cluster: where jobs run.
        submit, status: of action=submit and action=status.
        cache: where what frozen models see in images is kept.
        progress: whether bars are drawn.
        debug: whether errors come with a traceback.
        composed: the whole composed config, as plain values.
    """

    action: str
    name: str
    outputs: Path
    kept: Path
    seed: int
    device: str
    threads: int | None
    task: tuple[str, ...]
    direction: tuple[tuple[str, str], ...]
    products: tuple[Product, ...]
    dataset: Mapping[str, DatasetConfig]
    model: ModelConfig
    trainer: TrainerConfig
    evaluation: EvaluationConfig
    transfer: Node
    benchmark: BenchmarkConfig
    wandb: WandbConfig
    word: Path | None
    images: tuple[Path, ...]
    format: WordFormat
    cluster: ClusterConfig
    submit: SubmitConfig
    status: StatusConfig
    cache: CacheConfig
    progress: bool
    debug: bool
    composed: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where the study lives on disk."""
        return self.outputs / self.name

    @property
    def command(self) -> str:
        """How a shell asks for more of this study, by its name alone."""
        place = [] if self.outputs == Path("outputs") else [f"outputs={self.outputs}"]
        return shlex.join(["vwtransfer", f"name={self.name}", *place])

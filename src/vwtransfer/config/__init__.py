"""What a study is made of: the composed YAML of conf/, checked at the door and then read-only.

`composition.compose(["experiment=demo"])` gives a `Config`, as the entry point does. Attributes are
named as the keys in YAML. The selection (`concept`, `anchor`, `delta`, `extra_grids`) becomes
`products`; see `words.cells`. Parts that are swapped by config (a dataset, a model, the judge, the
transfer method) are plain dictionaries with a `_target_`; those of this package have a schema
(`config.models`, `config.datasets`), a user's own take what they like.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from vwtransfer.config.bundles import USUAL, BundleConfig
from vwtransfer.config.datasets import DatasetSpec
from vwtransfer.config.evaluation import EvaluationConfig as EvaluationConfig
from vwtransfer.config.fetching import FetchConfig
from vwtransfer.config.models import Count, Node, Positive, Prompt, Step
from vwtransfer.config.schema import Bounds
from vwtransfer.config.transfers import TransferConfig as TransferConfig

WordFormat = Literal["diffusers", "a1111"]


@dataclass(frozen=True)
class DatasetConfig(DatasetSpec):
    """What every dataset says of itself; `node`: all of it, with `_target_` and further keys."""

    node: Node


@dataclass(frozen=True)
class ModelConfig:
    """The models of a study.

    Attributes:
        name: the suite's.
        models: a model's name -> its node, with `_target_`, `name` and `task`.
        judge: the judge's node.
        safety: the safety checker's node; None: images are not checked.
        dino: the node of what compares generations with photos; None: nothing does.
        fidelity_prompts: that words are drawn in to see whether the rest is still obeyed.
    """

    name: str
    models: Mapping[str, Node]
    judge: Node | None
    safety: Node | None
    dino: Node | None = None
    fidelity_prompts: tuple[Prompt, ...] = ()

    def task_of(self, model: str) -> str:
        """What a model does."""
        return str(self.models[model]["task"])

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of its models, each once."""
        return tuple(dict.fromkeys(map(self.task_of, self.models)))

    def of_task(self, task: str) -> tuple[str, ...]:
        """The models of a task."""
        return tuple(name for name in self.models if self.task_of(name) == task)


@dataclass(frozen=True)
class TrainerConfig:
    """What is the same for every model (table 2 of the paper).

    Attributes:
        num_vectors: embedding vectors of a word.
        checkpoint_every: steps between two checkpoints.
        max_words_in_flight: words of a chunk; None: as many as memory allows.
        off_subspace_weight, early_layer_weight: of what is to make words transfer better
            (`training.regularizers`); 0, as published: none.
        joint_model: the model in which all words are trained too, through the study's transfer
            (`training.joint`); None, as published: none.
        parametrization: of vectors: free, as published, or their direction alone, at the length of
            their anchor in each text encoder.
        schedule: of the learning rate: constant, as published, or a cosine down to 0.
        stop: None, as published: after the model's `training.steps`. loss: before, where the loss
            has stopped falling (`training.stopping`).
    """

    num_vectors: Count
    betas: tuple[Annotated[float, Bounds(least=0, below=1)], ...]
    eps: Step
    checkpoint_every: Count
    max_words_in_flight: Count | None
    off_subspace_weight: Annotated[float, Bounds(least=0)] = 0.0
    early_layer_weight: Annotated[float, Bounds(least=0)] = 0.0
    joint_model: str | None = None
    parametrization: Literal["free", "direction"] = "free"
    schedule: Literal["constant", "cosine"] = "constant"
    stop: Literal["loss"] | None = None


@dataclass(frozen=True)
class BenchmarkConfig:
    """What action=benchmark compares.

    Attributes:
        methods: the nodes of transfer methods, each with its `name`.
        split: the concepts whose words are mapped; see `leaderboard/dev_concepts.yaml`.
        words: folder of a study whose words are taken; None: words are trained.
        page: where the leaderboard is written beside the run's folder; None: nowhere.
        calibration_prompts: that a word is decoded to in the rows of `leaderboard.cheapest`.
        density: a pattern of benchmarks' folders that differ in `transfer.exclude`, whose retention
            is shown side by side; None: none are.
    """

    methods: Mapping[str, Node]
    split: Literal["dev", "test", "all"]
    words: Path | None
    page: Path | None
    calibration_prompts: Count = 8000
    density: str | None = None


@dataclass(frozen=True)
class ClusterConfig:
    """Where jobs run and what each is given; no part of what a result is.

    Attributes:
        executor: slurm, or local: processes of this machine.
        partition, account, qos, constraint: SLURM's; None: as the cluster has it.
        gpus, cpus, memory_gb: of a job; memory None: as the cluster has it. Where `threads` says
            nothing, `cpus` are torch's threads.
        hours: a job's time limit; work that takes longer goes on from its checkpoint.
        signal_delay_s: how long before its limit a job is told to save.
        max_num_timeout: how often a job may come to its time limit.
        max_running_jobs: jobs that run at once, at most.
        queued: jobs of a submission, at most; None: as many as the cluster takes of a user.
        array_size: tasks of a job array, at most; None: as many as the cluster takes.
        setup: lines of shell before the work.
        additional_parameters: further options of sbatch, such as {exclude: node7}; None: none.
        heartbeat_timeout_s: without a sign of life for so long, a shard's job counts as dead.
        seconds_per_word: model or task -> seconds of a job for each of its words, measured before;
            what a plan goes by until words of the study itself are done. None: nothing was.
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
    signal_delay_s: Count
    max_num_timeout: Annotated[int, Bounds(least=0)]
    max_running_jobs: Count
    queued: Count | None
    array_size: Count | None
    setup: tuple[str, ...]
    additional_parameters: Mapping[str, Any] | None
    heartbeat_timeout_s: Annotated[float, Bounds(least=1)]
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
    """`watch`: whether it stays on screen until all is done; `every`: seconds between two looks."""

    watch: bool
    every: Positive


@dataclass(frozen=True)
class ArchiveConfig:
    """What action=archive makes: with `merge`, one file of all shards for each model."""

    merge: bool


@dataclass(frozen=True)
class WandbConfig:
    """What is reported to wandb; changes no number of the study.

    Attributes:
        mode: auto: online where there is an API key and the server answers, else offline.
        entity: None: the default one of the API key.
        granularity: a run for each job (shard), or for each word.
        log_every_n_steps: training steps between two reports.
        log_per_word: whether each word's own loss and distances are reported beside their mean.
        images: pictures of each kind that a run shows.
        finish_timeout_s: how long a job waits at its end for what is not yet uploaded.
    """

    mode: Literal["auto", "online", "offline", "disabled"]
    project: str
    entity: str | None
    granularity: Literal["shard", "word"]
    log_every_n_steps: Count
    log_per_word: bool
    images: Annotated[int, Bounds(least=0)]
    finish_timeout_s: Annotated[float, Bounds(least=0)]


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
        name, outputs: the folder it lives in is <outputs>/<name>.
        kept: folder of finished words and rows that git tracks; see `cluster.archive`.
        device: auto, cpu, cuda or cuda:N.
        threads: torch's in a process; None: as many as there are cores.
        task: the tasks in whose models words are trained.
        direction: (source model, target model) of every transfer.
        products: the words; their union is trained.
        dataset: by name.
        transfer: how words are mapped.
        benchmark: what action=benchmark compares.
        word: the file of a word to apply or export; files and folders of words to convert.
        source: the model that the word is of; None: as its file says, or the only generator.
        target: the model it is applied in or exported for; None: the only one to choose.
        images: files and folders of images that a word is applied to.
        into: where converted words, or a bundle, go; None: beside them, or in the study's folder.
        format: of the files that words are exported or converted to; None: the usual one.
        cluster: where jobs run.
        submit, status, archive, bundle: of the actions of these names.
        fetch: of action=fetch; None: a study kept by a version that had no such action.
        cache: where what frozen models see in images is kept.
        progress: whether bars are drawn; else lines tell of it.
        report: whether a run ends with a report; full: pictures in it have their own size.
        debug: whether errors come with a traceback.
        composed: the whole composed config, as plain values.
    """

    action: str
    name: str
    outputs: Path
    kept: Path
    seed: Annotated[int, Bounds(least=0)]
    device: str
    threads: Count | None
    task: tuple[str, ...]
    direction: tuple[tuple[str, str], ...]
    products: tuple[Product, ...]
    dataset: Mapping[str, DatasetConfig]
    model: ModelConfig
    trainer: TrainerConfig
    evaluation: EvaluationConfig
    transfer: TransferConfig
    benchmark: BenchmarkConfig
    wandb: WandbConfig
    word: tuple[Path, ...]
    source: str | None
    target: str | None
    images: tuple[Path, ...]
    into: Path | None
    format: WordFormat | None
    cluster: ClusterConfig
    submit: SubmitConfig
    status: StatusConfig
    archive: ArchiveConfig
    cache: CacheConfig
    progress: bool
    report: Literal[True, False, "full"]
    debug: bool
    composed: Mapping[str, Any]
    fetch: FetchConfig | None = None
    bundle: BundleConfig = USUAL

    @property
    def trained(self) -> tuple[str, ...]:
        """The models that words are trained in."""
        return tuple(name for name in self.model.models if self.model.task_of(name) in self.task)

    @property
    def folder(self) -> Path:
        """Where the study lives on disk."""
        return self.outputs / self.name

    @property
    def command(self) -> str:
        """How a shell asks for more of this study, by its name alone."""
        quote = '"' * bool(set(",[]{}") & set(str(self.outputs)))  # else Hydra reads several values
        place = [f"outputs={quote}{self.outputs}{quote}"] * (self.outputs != Path("outputs"))
        return shlex.join(["vwtransfer", f"name={self.name}", *place])

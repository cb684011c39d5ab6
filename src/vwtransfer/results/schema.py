"""The columns of the results: one record for each word, transfer, target model and metric.

The same in the parts, in `results.parquet` and in `results.csv`. `Record` says what each is. What
may explain that a word is lost in a transfer (DIAGNOSTICS) is measured in the word's own model, and
is the same in all of its rows; nan in baselines and where it was not measured
(`vwtransfer.evaluation.diagnostics` defines it). The last six say how a row came about.
"""

import math
from dataclasses import dataclass
from typing import Annotated, get_type_hints

import pyarrow as pa

WORD = "word"
BASELINES = {
    "anchor": "anchor word",
    "name": "concept's name",
    "random": "random vector",
    "chance": "chance",
}
"""The kinds that are no trained word, and what tables call them."""
NOT_CHECKED = "not checked"
DIAGNOSTICS = (
    "off_subspace_energy",
    "vocabulary_distance",
    "output_distance",
    "concept_onset_layer",
)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of the results, each column with what it is."""

    experiment: Annotated[str, "name of the study"]
    dataset: Annotated[str, "where the concept's images are from"]
    concept: Annotated[str, "what the word was trained to mean"]
    anchor: Annotated[
        str,
        "the token at which its vectors started; empty in baselines that have none (pandas reads "
        "that as nan from the csv)",
    ]
    delta: Annotated[
        float,
        "radius of the ball around the anchor that the vectors were kept in, in units of the "
        "distance to the anchor's nearest token (paper, section 5); inf when unconstrained",
    ]
    seed: Annotated[int, "seed of the word's training"]
    kind: Annotated[
        str,
        "word for a trained word, or a baseline: anchor (the anchor itself, typed), name (the "
        "concept's own name), random (a random vector of the anchor's norm) or chance",
    ]
    source_model: Annotated[str, "the model that the word was trained in; empty in baselines"]
    source_task: Annotated[str, "the task of that model; empty in baselines"]
    transfer: Annotated[
        str,
        "the method that mapped the word into the target model; none in the word's own model "
        "and in baselines",
    ]
    target_model: Annotated[str, "the model that the word was evaluated in"]
    target_task: Annotated[str, "the task of that model"]
    metric: Annotated[
        str,
        "generation_accuracy, mean_average_precision (IoU 0.5), mean_average_precision_50_95, "
        "mean_average_precision_target_images (IoU 0.5, only the images that hold the target), "
        "classifier_accuracy (share of the target's images given to it) or "
        "classifier_balanced_accuracy (mean of that share and of the share of other images not "
        "given to it), each between 0 and 1; in datasets whose concepts names do not tell apart "
        "photo_accuracy (share of images most like the photos of their concept) and "
        "classifier_average_precision (of the target's images among the others); and, where "
        "evaluation.metrics asks for them, clip_i, dino and clip_t, mean cosines "
        "(vwtransfer.tasks.similarity defines them)",
    ]
    value: Annotated[float, "the measured value; nan when the word failed, nothing in the csv"]
    num_images: Annotated[
        int,
        "how many images (generated or held-out) it was measured on; for clip_t, of as many "
        "prompts",
    ]
    eval_seconds: Annotated[float, "time the measurement took"]
    unsafe: Annotated[
        str,
        "whether the safety checker flags an image generated for this row: yes, no, or not "
        "checked where there is no checker, or nothing was generated",
    ] = NOT_CHECKED
    off_subspace_energy: Annotated[
        float,
        "share of the word's offset from the anchor outside the embedding table's leading "
        "directions",
    ] = math.nan
    vocabulary_distance: Annotated[
        float, "distance to the vocabulary, in the tokens' distances to one another"
    ] = math.nan
    output_distance: Annotated[
        float, "distance of its encoded prompt from those of calibration prompts"
    ] = math.nan
    concept_onset_layer: Annotated[
        float, "layer of the text encoder at which the anchor turns into the concept"
    ] = math.nan
    support: Annotated[
        str,
        "what the map was fitted on, as in 256 tokens, without descriptions; empty in the "
        "word's own model and in baselines",
    ] = ""
    device: Annotated[str, "the processor that measured it"] = ""
    host: Annotated[str, "the machine that measured it"] = ""
    commit: Annotated[
        str, "the commit of vwtransfer that measured it; empty where that is not known"
    ] = ""
    versions: Annotated[
        str,
        "libraries that measured it, as in torch 2.15.0, transformers 5.23.0",
    ] = ""
    written_at: Annotated[
        str,
        "when its part was written, in ISO 8601; of two rows with one identity the one that was "
        "written first stands",
    ] = ""


_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64()}
_HINTS = get_type_hints(Record, include_extras=True)
SCHEMA = pa.schema([(name, _TYPES[hint.__origin__]) for name, hint in _HINTS.items()])
DESCRIPTIONS: dict[str, str] = {name: hint.__metadata__[0] for name, hint in _HINTS.items()}
"""What each column is."""
TEXT = [field.name for field in SCHEMA if field.type == pa.string()]
IDENTITY = [
    "experiment",
    "dataset",
    "concept",
    "anchor",
    "delta",
    "seed",
    "kind",
    "source_model",
    "transfer",
    "target_model",
    "metric",
]
"""The columns that tell two records apart, and by which a table is sorted."""

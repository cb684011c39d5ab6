"""The columns of the results: one record for each word, transfer, target model and metric.

The same in the parts, in `results.parquet` and in `results.csv`:

    experiment    name of the study
    dataset       where the concept's images are from
    concept       what the word was trained to mean
    anchor        the token at which its vectors started; empty in baselines that have none (pandas
                  reads that as nan from the csv)
    delta         radius of the ball around the anchor that the vectors were kept in, in units of
                  the distance to the anchor's nearest token (paper, section 5); inf when
                  unconstrained, "inf" in the csv, which pandas reads back as the float
    seed          seed of the word's training
    kind          "word" for a trained word, or a baseline: "anchor" (the anchor itself, typed),
                  "name" (the concept's own name), "random" (a random vector of the anchor's norm)
                  or "chance"
    source_model  the model that the word was trained in; empty in baselines
    source_task   the task of that model; empty in baselines
    transfer      the method that mapped the word into the target model; "none" in the word's own
                  model and in baselines
    target_model  the model that the word was evaluated in
    target_task   the task of that model
    metric        generation_accuracy, mean_average_precision (IoU 0.5),
                  mean_average_precision_50_95, mean_average_precision_target_images (IoU 0.5, only
                  the images that hold the target), classifier_accuracy (share of the target's
                  images given to it) or classifier_balanced_accuracy (mean of that share and of
                  the share of other images not given to it), each between 0 and 1; and, where
                  evaluation.metrics asks for them, clip_i, dino and clip_t, mean cosines
                  (`vwtransfer.tasks.similarity` defines them)
    value         the measured value; nan when the word failed, nothing in the csv
    num_images    how many images (generated or held-out) it was measured on; for clip_t, in as
                  many prompts
    eval_seconds  time the measurement took
    unsafe        whether the safety checker flags an image generated for this row: "yes", "no", or
                  "not checked" where there is no checker, or nothing was generated

What may explain that a word is lost in a transfer is measured in the word's own model, and is the
same in all of its rows; nan in baselines and where it was not measured
(`vwtransfer.evaluation.diagnostics` defines it):

    off_subspace_energy  share of its offset from the anchor outside the embedding table's leading
                         directions
    vocabulary_distance  distance to the vocabulary, in the tokens' distances to one another
    output_distance      distance of its encoded prompt from those of calibration prompts
    concept_onset_layer  layer of the text encoder at which the anchor turns into the concept

How the row came about:

    support       what the map was fitted on ("256 tokens, without descriptions"); empty in the
                  word's own model and in baselines
    device        the processor that measured it
    host          the machine that measured it
    commit        the commit of vwtransfer that measured it; empty where that is not known
    versions      libraries that measured it: "torch 2.15.0, transformers 5.23.0, ..."
    written_at    when its part was written, in ISO 8601; of two rows with one identity the one
                  that was written first stands
"""

import math
from dataclasses import dataclass

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
    """One row of the results; the module's docstring says what each column is."""

    experiment: str
    dataset: str
    concept: str
    anchor: str
    delta: float
    seed: int
    kind: str
    source_model: str
    source_task: str
    transfer: str
    target_model: str
    target_task: str
    metric: str
    value: float
    num_images: int
    eval_seconds: float
    unsafe: str = NOT_CHECKED
    off_subspace_energy: float = math.nan
    vocabulary_distance: float = math.nan
    output_distance: float = math.nan
    concept_onset_layer: float = math.nan
    support: str = ""
    device: str = ""
    host: str = ""
    commit: str = ""
    versions: str = ""
    written_at: str = ""


_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64()}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in Record.__annotations__.items()])
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

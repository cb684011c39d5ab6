"""Names that changed on 28 November 2026: a former one is refused with the one to write instead."""

from collections.abc import Mapping

KEYS: Mapping[str, str] = {
    "extra": "extra_grids",
    "trainer.vectors": "trainer.num_vectors",
    "trainer.outside_penalty": "trainer.off_subspace_weight",
    "trainer.early_penalty": "trainer.early_layer_weight",
    "trainer.jointly_with": "trainer.joint_model",
    "evaluation.keep_images": "evaluation.save_images",
    "benchmark.half": "benchmark.split",
    "model.support": "model.NAME.support",
    "cluster.running": "cluster.max_running_jobs",
    "cluster.restarts": "cluster.max_num_timeout",
    "cluster.signal_seconds": "cluster.signal_delay_s",
    "cluster.sbatch": "cluster.additional_parameters",
    "cluster.claim_seconds": "cluster.heartbeat_timeout_s",
    "wandb.every": "wandb.log_every_n_steps",
    "wandb.words": "wandb.log_per_word",
    "wandb.patience": "wandb.finish_timeout_s",
    "dataset.*.rivals": "dataset.*.distractors",
    "model.*.template": "model.*.prompt_template",
    "model.*.memory": "model.*.memory_savers",
    "transfer.match": "transfer.objective",
    "transfer.phrases": "transfer.calibration_prompts",
    "transfer.places": "transfer.read_positions",
    "transfer.target_places": "transfer.target_read_positions",
    "transfer.start": "transfer.init",
    "transfer.strength": "transfer.ridge_alpha",
    "transfer.toward_words": "transfer.vocabulary_penalty",
    "transfer.longest": "transfer.max_words",
}
CHOICES: Mapping[str, Mapping[str, str]] = {
    "action": {
        "keep": "archive",
        "publish": "archive archive.merge=true",
        "boxes": "propose_boxes",
        "sync": "wandb_sync",
    },
    "benchmark.split": {"development": "dev", "final": "test"},
    "dataset": {
        f"fresh_{kind}": f"tiny_{kind}_b" for kind in ("shapes", "textures", "small", "scenes")
    },
    "experiment": {"transfer_benchmark_fresh": "transfer_benchmark_test"},
    "transfer": {
        "clearest_matching": "readout_matching",
        "blended_matching": "ridge_knn_matching",
        "neighbour_matching": "knn_matching",
        "similarity_matching": "relative_matching",
        "state_matching": "token_state_matching",
    },
}


def new_key(key: str) -> str | None:
    """What a former key is called now; None for one that never was another's name."""
    for former, new in KEYS.items():
        if key == former or (key.startswith(f"{former}.") and "*" not in former):
            return new + key.removeprefix(former)
    group, _, rest = key.partition(".")
    name, _, last = rest.rpartition(".")
    found = KEYS.get(f"{group}.*.{last}") if name else None
    return found.replace("*", name) if found else None


def new_choice(key: str, value: str) -> str | None:
    """What a former value of a key is called now."""
    return CHOICES.get(key, {}).get(value)

"""How long each stage of the build learns, at full size and at the size of a test."""

from collections.abc import Mapping

from vwtransfer.tinyworld_build.stage import Recipe

STAGES = ("judge", "classification", "detection", "autoencoder", "text", "generation", "grounding")

FULL: Mapping[str, Recipe] = {
    "judge": Recipe(2600, 128, 2e-3, average=0.998),
    "classification": Recipe(3000, 128, 2e-3, average=0.998, pool=20480, restarts=(1500,)),
    "detection": Recipe(4500, 64, 1.5e-3, average=0.998, pool=20480),
    "autoencoder": Recipe(1900, 16, 1.5e-3, weight_decay=0.0, average=0.995, pool=16384),
    "text": Recipe(1000, 128, 2e-3, pool=16384),
    "generation": Recipe(12000, 32, 1.2e-3, weight_decay=0.01, average=0.9985),
    "grounding": Recipe(2200, 32, 1.5e-3, warm_up=150, average=0.995, pool=16384, restarts=(1700,)),
}

QUICK: Mapping[str, Recipe] = {
    name: Recipe(4, 8, recipe.learning_rate, warm_up=2, average=recipe.average, pool=256)
    for name, recipe in FULL.items()
}

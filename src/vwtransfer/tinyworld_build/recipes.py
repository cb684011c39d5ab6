"""How long each stage of the build learns, at full size and at the size of a test."""

from collections.abc import Mapping

from vwtransfer.tinyworld_build.stage import Recipe

STAGES: Mapping[str, int] = {
    "judge": 0,
    "classification": 1,
    "detection": 2,
    "autoencoder": 3,
    "text": 4,
    "generation": 5,
    "grounding": 6,
    "flow_text": 6,
    "flow": 7,
    "tiny_sd_b_text": 20,
    "tiny_sd_b": 21,
    "tiny_sdxl_text": 22,
    "tiny_sdxl": 24,
    "tiny_siglip": 10,
    "wide_clip": 30,
    "wide_owlv2": 31,
    "second_clip": 40,
    "second_owlv2": 41,
    "third_clip": 50,
    "third_owlv2": 51,
}
"""The stages in their order, each with the number that its weights' seed is made of."""

# of the second and the third world, which are to be cheap
_CLIP = Recipe(2500, 64, 2e-3, average=0.998, pool=20480)
_OWLV2 = Recipe(3600, 32, 1.5e-3, average=0.998, pool=20480)

FULL: Mapping[str, Recipe] = {
    "judge": Recipe(2600, 128, 2e-3, average=0.998),
    "classification": Recipe(3000, 128, 2e-3, average=0.998, pool=20480, restarts=(1500,)),
    "detection": Recipe(4500, 64, 1.5e-3, average=0.998, pool=20480),
    "autoencoder": Recipe(1900, 16, 1.5e-3, weight_decay=0.0, average=0.995, pool=16384),
    "text": Recipe(1000, 128, 2e-3, pool=16384),
    "generation": Recipe(12000, 32, 1.2e-3, weight_decay=0.01, average=0.9985),
    "grounding": Recipe(2200, 32, 1.5e-3, warm_up=150, average=0.995, pool=16384, restarts=(1700,)),
    "flow_text": Recipe(800, 96, 2e-3, pool=16384),
    "flow": Recipe(9000, 16, 1.2e-3, 100, 0.01, 0.9985, pool=24576, restarts=(3500,)),
    "tiny_sd_b_text": Recipe(1000, 128, 2e-3, pool=16384),
    "tiny_sd_b": Recipe(
        5400,
        24,
        1.2e-3,
        weight_decay=0.01,
        average=0.9985,
        pool=24576,
        restarts=(3400,),
        horizon=6000,
        fall=1400,
    ),
    "tiny_sdxl_text": Recipe(1000, 128, 2e-3, pool=16384),
    "tiny_sdxl": Recipe(
        7000,
        24,
        1.2e-3,
        weight_decay=0.01,
        average=0.9985,
        pool=24576,
        restarts=(3000, 5000),
        horizon=6000,
        fall=1200,
    ),
    "tiny_siglip": Recipe(2500, 128, 2e-3, average=0.997, pool=20480, restarts=(1500,)),
    "wide_clip": Recipe(2800, 128, 2e-3, average=0.998, pool=32768, horizon=4000, fall=800),
    "wide_owlv2": Recipe(2800, 64, 1.5e-3, average=0.998, pool=32768, horizon=4200, fall=800),
    "second_clip": _CLIP,
    "second_owlv2": _OWLV2,
    "third_clip": _CLIP,
    "third_owlv2": _OWLV2,
}

QUICK: Mapping[str, Recipe] = {
    name: Recipe(4, 8, recipe.learning_rate, warm_up=2, average=recipe.average, pool=256)
    for name, recipe in FULL.items()
}

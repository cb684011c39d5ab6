"""The datasets of the rendered worlds, drawn when they are looked at.

An image's chance comes from dataset, seed, concept, split and number alone: it is the same
whichever others are drawn, and no image is in two splits or was used to build a model.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from functools import partial
from itertools import combinations, product
from typing import Any

from vwtransfer.datasets import NAMES, DatasetNotes, Example
from vwtransfer.tinyworld.lexicon import nouns, parse, synonyms
from vwtransfer.tinyworld.renderer import main_box, render_image
from vwtransfer.tinyworld.world import WORLDS, Combination, Layout, Subject, sample_scene


class Rendered:
    """A dataset of rendered scenes (fills in `vwtransfer.datasets.Dataset`).

    The main thing of an image is its concept, and the largest. The things around it are never
    concepts of the same dataset, so that an image has one label. Where it has `subjects`, no phrase
    says exactly what its concepts look like, and their names do not tell them apart.
    """

    def __init__(
        self,
        name: str,
        concepts: Mapping[str, str],
        anchors: Sequence[str],
        training_images: int = 8,
        held_out_images: int = 20,
        seed: int = 0,
        things: Sequence[float] = (1.0,),
        radius: Sequence[float] = (15.0, 24.0),
        ratio: Sequence[float] = (0.55, 0.8),
        drawn_as: str | None = None,
        world: str = "tiny",
        subjects: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Describes a dataset; nothing is drawn yet.

        Args:
            name: the dataset's name.
            concepts: concept -> its name in prompts, "colour pattern shape".
            anchors: one anchor word for each concept, in order.
            training_images: per concept.
            held_out_images: per concept.
            seed: another seed gives other images.
            things: how often an image holds one, two, three or four things.
            radius: least and largest radius of the main thing, in pixels of the 64 x 64 image.
            ratio: least and largest radius of the other things, relative to the main one.
            drawn_as: the name that its images are drawn by; None: its name.
            world: a name of `tinyworld.world.WORLDS`.
            subjects: concept -> how it departs from its name, the nearest phrase: keys of
                `tinyworld.world.Subject`, `towards` in words.
        """
        self.name = name
        self._drawn_as = drawn_as or name
        self.concepts = dict(concepts)
        self.anchors = list(anchors)
        self._images = {"training": training_images, "held_out": held_out_images}
        self._seed = seed
        main, other = (radius[0], radius[1]), (ratio[0], ratio[1])
        self._layout = Layout(tuple(things), main, main, other)
        self._world = WORLDS[world]
        self._subjects = {
            concept: Subject(**{**given, "towards": parse(given["towards"])})
            for concept, given in (subjects or {}).items()
        }
        mains = [parse(description) for description in self.concepts.values()]
        mains += [subject.towards for subject in self._subjects.values()]
        self._mains = list(dict.fromkeys(mains))
        self._others = [c for c in self._world.combinations if c not in self._mains]

    @property
    def remarks(self) -> DatasetNotes:
        """Subjects have no names of their own."""
        if not self._subjects:
            return DatasetNotes()
        return DatasetNotes({NAMES: "no phrase says exactly what its subjects look like"})

    @property
    def descriptions(self) -> list[str]:
        """Every wording of the concepts that captions know: synonyms of attributes, and nouns."""
        wordings = [
            " ".join(wording)
            for main in self._mains
            for wording in product(*(self._said(word) for word in astuple(main)))
        ]
        named = nouns(self._world)
        return [*wordings, *(named[main] for main in self._mains if main in named)]

    @property
    def near_descriptions(self) -> list[str]:
        """What says two attributes of a concept, in one word or in two.

        A noun says all three of the thing that it names.
        """
        found: set[str] = set()
        for main in map(astuple, self._mains):
            saying = [set(self._said(word)) for word in main]
            for thing, noun in nouns(self._world).items():
                own = {place for place, word in enumerate(astuple(thing)) if word == main[place]}
                if len(own) == 1:
                    saying[own.pop()].add(noun)
                elif own:
                    found.add(noun)
            for one, other in combinations(saying, 2):
                found.update(f"{a} {b}" for a, b in product(one, other))
        return sorted(found)

    @property
    def related_words(self) -> list[str]:
        """What says an attribute of a concept, or names a thing that has one."""
        attributes = [each for main in self._mains for each in astuple(main)]
        saying = {word for each in attributes for word in self._said(each)}
        for thing, noun in nouns(self._world).items():
            if any(thing.shares_attribute(main) for main in self._mains):
                saying.add(noun)
        return sorted(saying)

    def _said(self, word: str) -> tuple[str, ...]:
        """An attribute's word, and its synonyms."""
        return (word, *synonyms(self._world).get(word, ()))

    def training(self, concept: str) -> list[Example]:
        """The images a word for `concept` is trained on."""
        return self._examples(concept, "training")

    def held_out(self, concept: str) -> list[Example]:
        """The images chosen for `concept` that metrics are measured on."""
        return self._examples(concept, "held_out")

    def _examples(self, concept: str, split: str) -> list[Example]:
        main = parse(self.concepts[concept])
        return [self._example(concept, main, split, i) for i in range(self._images[split])]

    def _example(self, concept: str, main: Combination, split: str, index: int) -> Example:
        rng = random.Random(f"{self._drawn_as} {self._seed} {concept} {split} {index}")
        scene = sample_scene(rng, main, self._layout, self._others, self._world)
        if subject := self._subjects.get(concept):
            first = replace(scene.things[0], subject=subject)
            scene = replace(scene, things=(first, *scene.things[1:]))
        return Example(
            id=f"{split}-{concept}-{index:03d}",
            concept=concept,
            load=partial(render_image, scene),
            boxes=(main_box(scene),),
            labels=(concept,),
        )

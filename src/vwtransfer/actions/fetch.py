"""action=fetch: brings the photos and checkpoints that a study needs, then checks it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vwtransfer.config import Config
from vwtransfer.errors import UserError
from vwtransfer.fetch import coco, dreambooth, imagenet, pascal
from vwtransfer.fetch.download import Downloads
from vwtransfer.fetch.session import Session
from vwtransfer.progress import stages, terminal

LAYOUTS: Mapping[str, Callable[[Mapping[str, Any], Session], None]] = {
    "vwtransfer.datasets.coco.Coco": coco.fetch,
    "vwtransfer.datasets.dreambooth.DreamBooth": dreambooth.fetch,
    "vwtransfer.datasets.imagenet.ImageNet": imagenet.fetch,
    "vwtransfer.datasets.pascal.PascalVOC": pascal.fetch,
}


def fetch(config: Config) -> None:
    """Brings what `fetch.parts` names, each dataset and checkpoint for itself; then `check`.

    Raises:
        UserError: something cannot be had; the rest was fetched all the same.
    """
    settings = config.fetch
    if settings is None:
        raise UserError("fetch: is missing. Choose one with fetch=NAME.")
    console, refused = terminal(), list[UserError]()
    with Downloads(settings) as downloads, stages(console, config.progress) as bars:
        session = Session(settings, downloads, bars, console)
        for bring in _parts(config, session):
            try:
                bring()
            except UserError as error:
                refused.append(error)
                console.print(str(error), soft_wrap=True, highlight=False)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise UserError(f"action=fetch: {len(refused)} parts cannot be had; they are named above.")
    if not settings.dry_run:
        from vwtransfer.actions.check import check  # which imports torch, for seconds

        check(config, models="checkpoints" in settings.parts, datasets="datasets" in settings.parts)


def _parts(config: Config, session: Session) -> Iterator[Callable[[], None]]:
    parts = session.settings.parts
    for dataset in config.dataset.values() if "datasets" in parts else ():
        for node in (dataset.node, dataset.node.get("distractors")):
            if node and node["_target_"] in LAYOUTS:
                yield lambda node=node: LAYOUTS[node["_target_"]](node, session)  # type: ignore[misc]
            elif node is dataset.node:
                session.console.print(f"{dataset.name}: nothing of it is to be fetched")
    if "checkpoints" in parts:
        from vwtransfer.fetch import checkpoints

        yield lambda: checkpoints.fetch(config, session)

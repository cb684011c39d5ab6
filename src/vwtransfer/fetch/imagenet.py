"""ImageNet, which nobody may hand on: what is needed of it, out of a copy or the hub's dataset."""

import os
import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from vwtransfer.datasets.annotation import Candidates, labels_of
from vwtransfer.datasets.bad_data import UnusableError, path_inside
from vwtransfer.datasets.imagenet import candidates, folder_in, solution_in, training_folder
from vwtransfer.errors import UserError
from vwtransfer.fetch.checksums import Digest
from vwtransfer.fetch.imagenet_hub import LAYOUT, HubImageNet
from vwtransfer.fetch.record import Record, alone_in
from vwtransfer.fetch.session import (
    Bring,
    Session,
    bring_choice,
    bring_listed,
    number_of,
    place_photo,
    spec_of,
)


def fetch(node: Mapping[str, Any], session: Session) -> None:
    """Brings what the dataset that the node describes needs.

    Raises:
        UserError: something cannot be had, such as all of it without an account.
    """
    spec, root, layout = spec_of(node), Path(node["root"]).expanduser(), node["layout"]
    labels = labels_of(node["wnids"], spec.concepts, f"dataset.{spec.name}.wnids")
    copy = session.settings.imagenet.copy
    if copy is not None and not folder_in(copy).is_dir():
        raise UserError(f"fetch.imagenet.copy={copy}: there is no such folder.")
    with alone_in(root) as record:
        bare = any((root / each).is_dir() for each in ("Data", "Annotations"))
        folder = root if bare and folder_in(root) == root else root / "ILSVRC"
        annotated = all(
            any((folder / "Annotations" / training_folder(layout, wnid)).glob("*.xml"))
            for wnid in labels
        )
        hub = None
        bring: Bring = partial(_refuse, spec.name)
        if copy is not None:
            bring = _from_copy(copy, folder, spec.name, record, session)
        elif layout == LAYOUT and session.settings.imagenet.hub.repo is not None:
            hub = HubImageNet(spec.name, labels, folder, record, session, _otherwise(spec.name))
            bring = hub.bring
        if bring_listed(node, folder, bring, spec.name):
            return
        if copy is None and not annotated:
            if hub is None:
                _refuse(spec.name)
            elif not hub.bring_annotations():
                return
        (folder / "Data" / layout).mkdir(parents=True, exist_ok=True)
        found = candidates(copy or root, layout, labels)
        if copy is not None and not session.settings.dry_run:
            _copy_annotations(copy, root, folder, layout, labels, found)
        bring_choice(spec, folder, found, bring, record, session)


def _refuse(name: str, *_: object) -> NoReturn:
    raise UserError(
        f"dataset.{name}: ImageNet is not to be had without an account.{_otherwise(name)}"
    )


def _otherwise(name: str) -> str:
    return (
        " Where ImageNet lies already, fetch.imagenet.copy=FOLDER (it holds ILSVRC/) takes what is "
        "needed from there. With an account at kaggle.com, join the competition "
        "imagenet-object-localization-challenge and unpack its archive. docs/datasets.md says "
        f"more; without it, leave {name} out of dataset=[...]."
    )


def _from_copy(copy: Path, folder: Path, name: str, record: Record, session: Session) -> Bring:
    """Copies photos out of a folder that has all."""

    def bring(wanted: Mapping[str, Digest | None]) -> dict[str, str]:
        sources = {file: path_inside(folder_in(copy), file) for file in wanted}
        size = sum(path.stat().st_size for path in sources.values() if path.is_file())
        if not session.agreed(f"{name}: {number_of(len(wanted))} out of {copy}", size, folder):
            return {}
        gone = {}
        with session.stages.stage(f"{name}: photos", len(wanted)) as advance:
            for file, digest in wanted.items():
                advance(1)
                source, path = sources[file], path_inside(folder, file)
                try:
                    if not source.is_file():
                        raise UnusableError("there is no such file")
                    arrived = place_photo(partial(shutil.copyfile, source), path, digest)
                    record.add(path, str(source), arrived)
                except UnusableError as error:
                    gone[file] = f"{source}: {error}"
        return gone

    return bring


def _copy_annotations(
    copy: Path,
    root: Path,
    folder: Path,
    layout: str,
    labels: Iterable[str],
    found: Candidates,
) -> None:
    """Those of the classes' training images and of the validation images that may be chosen."""
    annotations = folder_in(copy) / "Annotations"
    places = [annotations / training_folder(layout, wnid) for wnid in labels]
    files = [path for place in places for path in place.glob("*.xml")]
    names = {Path(each.file).stem for same in (found.held_out or {}).values() for each in same}
    files += [annotations / layout / "val" / f"{name}.xml" for name in sorted(names)]
    for path in files:
        if path.is_file():
            _copy(path, folder / "Annotations" / path.relative_to(annotations))
    if solution := solution_in(copy, layout):
        _copy(solution, root / solution.name)
    os.sync()


def _copy(source: Path, path: Path) -> None:
    if path.is_file() and path.stat().st_size == source.stat().st_size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    shutil.copyfile(source, part)
    part.replace(path)

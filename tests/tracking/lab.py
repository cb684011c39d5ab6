"""A server that takes runs and views from wandb and keeps them: what a person would see there.

It speaks as much of the protocol of wandb's own as its client does for a study.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from servers import serving

ENTITY = "my-lab"
HISTORY, SYSTEM, SUMMARY = "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json"


@dataclass
class KeptRun:
    """A run, or several that went on in it.

    Attributes:
        opened: what the client told of it: name, project, groupName, jobType, tags, config, ...
        lines: of each streamed file, by their place in it.
        uploads: files by their names.
        exit_codes: one each time that it ended.
    """

    opened: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    @property
    def history(self) -> list[dict[str, Any]]:
        lines = self.lines.get(HISTORY, {})
        return [json.loads(lines[place]) for place in sorted(lines)]

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.lines[SUMMARY][0])
        return found

    @property
    def config(self) -> dict[str, Any]:
        return {name: each["value"] for name, each in json.loads(self.opened["config"]).items()}

    def values(self, name: str) -> list[Any]:
        """What was logged under a name, in order."""
        return [row[name] for row in self.history if name in row]


@dataclass
class KeptArtifact:
    """An artifact that one run uploaded.

    Attributes:
        kind: its type.
        run: the id of its run.
        files: by their names inside.
        whole: whether it was committed.
    """

    kind: str
    run: str
    files: dict[str, bytes] = field(default_factory=dict)
    whole: bool = False


class Lab:
    """What the server has, and what it answers."""

    def __init__(self) -> None:
        self.address = ""
        self.runs: dict[str, KeptRun] = {}
        self.artifacts: dict[str, KeptArtifact] = {}
        self.views: list[dict[str, Any]] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """To one request."""
        if method == "PUT":
            _, kind, owner, name = path.split("/", 3)
            owned = self.runs[owner].uploads if kind == "run" else self.artifacts[owner].files
            owned[name] = body
        elif path.endswith("/file_stream"):
            self.stream(path.split("/")[-2], json.loads(body))
        elif path == "/graphql":
            sent = json.loads(body)
            data = self.query(sent["query"], sent.get("variables") or {})
            return HTTPStatus.OK, {"data": data}
        return HTTPStatus.OK, {}

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        """Keeps lines at their places; what they replace is gone."""
        for name, chunk in sent.get("files", {}).items():
            lines = self.runs[run].lines.setdefault(name, {})
            lines.update(enumerate(chunk["content"], chunk["offset"]))
        if sent.get("complete"):
            self.runs[run].exit_codes.append(sent["exitcode"])

    def query(self, text: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer; nothing of what the server has not."""
        known: dict[str, Callable[..., dict[str, Any]]] = {
            "Viewer": self._viewer,
            "GetDefaultEntity": self._viewer,
            "UpsertView2": self._view,
            "RunResumeStatus": self._resumed,
            "UpsertBucket": self._run,
            "CreateRunFiles": self._run_files,
            "ArtifactType": lambda **_: {"project": None},
            "CreateArtifact": self._artifact,
            "CreateArtifactManifest": self._manifest,
            "CreateArtifactFiles": self._artifact_files,
            "CommitArtifact": self._commit,
        }
        (operation,) = re.findall(r"^\s*(?:query|mutation) (\w+)", text)
        told = variables.get("input", variables)
        return known[operation](**told) if operation in known else {}

    def _viewer(self) -> dict[str, Any]:
        viewer = {"id": "2", "entity": ENTITY, "username": "me", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def _view(self, **view: Any) -> dict[str, Any]:
        self.views.append(view)
        return {"upsertView": {"view": {"id": "1", "name": view["name"]}, "inserted": True}}

    def _bucket(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        project = {"id": "3", "name": run.opened["project"]}
        return {
            "id": name,
            "name": name,
            "displayName": run.opened["displayName"],
            "project": {**project, "entity": {"id": "4", "name": ENTITY}},
            "historyLineCount": len(run.lines.get(HISTORY, ())),
        }

    def _run(self, name: str, **told: Any) -> dict[str, Any]:
        run = self.runs.setdefault(name, KeptRun())
        run.opened.update({key: value for key, value in told.items() if value is not None})
        return {"upsertBucket": {"bucket": self._bucket(name), "inserted": True}}

    def _resumed(self, name: str, **_: Any) -> dict[str, Any]:
        if name not in self.runs:
            return {"model": None}
        run = self.runs[name]
        bucket = {
            **self._bucket(name),
            "summaryMetrics": run.lines.get(SUMMARY, {}).get(0, "{}"),
            "eventsLineCount": len(run.lines.get(SYSTEM, ())),
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "config": run.opened["config"],
            "tags": run.opened.get("tags", []),
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {**bucket["project"], "bucket": bucket}}

    def _run_files(self, run: str, files: list[str], **_: Any) -> dict[str, Any]:
        urls = [{"name": name, "uploadUrl": f"{self.address}/run/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": urls}}

    def _artifact(
        self, artifactCollectionName: str, artifactTypeName: str, runName: str, **_: Any
    ) -> dict[str, Any]:
        name = artifactCollectionName
        self.artifacts[name] = KeptArtifact(artifactTypeName, runName)
        sequence = {"latestArtifact": None}
        artifact = {"id": _id(name), "state": "PENDING", "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def _place(self, artifact: str, name: str) -> dict[str, Any]:
        """Where a file of an artifact is to be put."""
        url = f"{self.address}/artifact/{_name(artifact)}/{name}"
        return {"uploadUrl": url, "uploadHeaders": []}

    def _manifest(self, artifactID: str, name: str, **_: Any) -> dict[str, Any]:
        manifest = {"id": "5", "file": {"id": "6", **self._place(artifactID, name)}}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _artifact_files(self, artifactFiles: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        edges = []
        for file in artifactFiles:
            artifact = file["artifactID"]
            place = self._place(artifact, file["name"])
            edges.append({"node": {**place, "artifact": {"id": artifact}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit(self, artifactID: str) -> dict[str, Any]:
        self.artifacts[_name(artifactID)].whole = True
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": ""}}}


def _id(name: str) -> str:
    return base64.b64encode(name.encode()).decode()


def _name(id_: str) -> str:
    return base64.b64decode(id_).decode()


@contextmanager
def laboratory() -> Iterator[Lab]:
    """The server, at its address."""
    lab = Lab()
    with serving(lab.answer) as address:
        lab.address = address
        yield lab

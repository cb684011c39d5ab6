"""The dataset card of a bundle: the hub's header, what came out, and what each column is."""

from collections.abc import Iterator, Sequence

from huggingface_hub import DatasetCardData

from vwtransfer import __version__
from vwtransfer.bundle.croissant import Table, about
from vwtransfer.report.study_folder import StudyFolder
from vwtransfer.report.summary_text import summary_text

TAGS = ["textual-inversion", "vwtransfer"]


def card(study: StudyFolder, tables: Sequence[Table], license_: str | None) -> str:
    """README.md; the hub's viewer shows its tables, results first.

    Args:
        study: that the bundle is of.
        tables: what lies in it as parquet.
        license_: as the hub writes it (cc-by-4.0); None: the card has none.
    """
    header = DatasetCardData(
        pretty_name=study.name,
        license=license_,
        tags=TAGS,
        configs=[
            {"config_name": table.name, "data_files": f"{table.name}.parquet"}
            | ({"default": True} if table.name == "results" else {})
            for table in tables
        ],
    )
    return "\n\n".join([f"---\n{header.to_yaml()}\n---", *_parts(study, tables)]) + "\n"


READ_ROWS = """\
    import pandas as pd
    frame = pd.read_parquet("results.parquet")"""
READ_WORDS = """\
    from safetensors import safe_open
    word = pd.read_parquet("words.parquet").iloc[0]
    vectors = safe_open(word.file, "pt").get_tensor(word.tensor)"""


def _parts(study: StudyFolder, tables: Sequence[Table]) -> Iterator[str]:
    """What stands on the card, between blank lines."""
    yield f"# {study.name}"
    made = f"Made with vwtransfer {__version__}; `config.yaml` is the whole config."
    yield f"{about(study)}\n{made}"
    yield "## What came out"
    lines = [*summary_text(study), *(f"Incomplete: {line}" for line in study.remarks)]
    yield "\n".join(f"- {line}" for line in lines)
    yield "## Read it"
    yield READ_ROWS
    if any(table.name == "words" for table in tables):
        yield READ_WORDS
    for table in tables:
        yield f"## {table.name}.parquet: {table.about}"
        rows = [f"| `{name}` | {text} |" for name, text in table.columns.items()]
        yield "\n".join(["| column | what it is |", "| --- | --- |", *rows])

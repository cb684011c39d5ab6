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
    return f"---\n{header.to_yaml()}\n---\n\n" + "\n".join(_body(study, tables)) + "\n"


def _body(study: StudyFolder, tables: Sequence[Table]) -> Iterator[str]:
    yield f"# {study.name}"
    yield ""
    yield about(study)
    yield f"Made with vwtransfer {__version__}; `config.yaml` is the whole config."
    yield ""
    yield "## What came out"
    yield ""
    yield from (f"- {line}" for line in summary_text(study))
    yield from (f"- Incomplete: {line}" for line in study.remarks)
    yield ""
    yield "## Read it"
    yield ""
    yield "    import pandas as pd"
    yield '    frame = pd.read_parquet("results.parquet")'
    if any(table.name == "words" for table in tables):
        yield ""
        yield "    from safetensors import safe_open"
        yield '    word = pd.read_parquet("words.parquet").iloc[0]'
        yield '    vectors = safe_open(word.file, "pt").get_tensor(word.tensor)'
    for table in tables:
        yield ""
        yield f"## {table.name}.parquet: {table.about}"
        yield ""
        yield "| column | what it is |"
        yield "| --- | --- |"
        yield from (f"| `{name}` | {text} |" for name, text in table.columns.items())

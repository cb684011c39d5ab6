"""The kept words are what was published, to the bit, and the documented tables are of them."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny_words
from safetensors import safe_open

from vwtransfer import results

# sha256 over key and bytes of each vector, in order, taken when they were filed by task
DIGESTS = {
    "tiny_section4/tiny_sd": "a1ce88b78b31f5acb0d8af2c8f9a0a2fadc82474923e8bb7548ebf2bc847a695",
    "tiny_section4/tiny_owlv2": "953ad9107f2b887cd1bd9e8103e1f8d510ccd58a2fcc6dbaa70ed78888ed19ac",
    "tiny_section4/tiny_clip": "36c9fa181c22e9c94f63e78a9272e62a1032faa833fe1144107889aa1171f923",
    "tiny_section5/tiny_sd": "ff7aa592f1fb5222832bd58e11d798d631cc75b9cbe8ca0b45396ce8c7490c3b",
    "tiny_section5/tiny_owlv2": "309f34797da05ac5c3811e8a9b89b6a038d34f67830247452136c0e71bb4f4cc",
    "tiny_section5/tiny_clip": "082f52f28fda3d64fbb8d2763bfd68180047e1431f7cf0d5e2bde922a4df0d85",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_kept_vectors_are_those_that_were_trained(name: str) -> None:
    digest = hashlib.sha256()
    with safe_open(Path("kept", f"{name}.safetensors"), framework="np") as file:
        keys = sorted(file.keys())
        for key in keys:
            digest.update(key.encode())
            digest.update(file.get_tensor(key).tobytes())
        assert set(json.loads(file.metadata()["words"])) == set(keys)
    assert digest.hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", ["tiny_section4", "tiny_section5"])
def test_every_row_that_the_repository_keeps_is_read(name: str) -> None:
    path = Path("kept", name, "results.parquet")
    frame = results.read(path)
    assert len(frame) == pq.read_metadata(path).num_rows
    assert list(frame.columns) == results.SCHEMA.names
    moved = frame["transfer"] != "none"
    support = Path("src/vwtransfer/tinyworld/weights/support.txt").read_text().split()
    assert set(frame.loc[moved, "support"]) == {f"{len(support)} tokens"}
    assert set(frame.loc[~moved, "support"]) == {""}


def test_the_documented_tables_are_of_the_kept_rows() -> None:
    text = Path("docs/tiny_words.md").read_text(encoding="utf-8")
    for table in (tiny_words.section_4(), tiny_words.section_5()):
        assert "\n".join(tiny_words.lines(table)) in text

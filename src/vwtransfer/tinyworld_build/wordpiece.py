"""The tokenizer of the tiny Grounding DINO: BERT's WordPiece, trained on captions.

It has fewer tokens than the captions have words, so that rare words are split. What `tokenizers`'
WordPieceTrainer learned of 20,000 captions (560 entries, the unknown one among them) lies in
`word_pieces.txt`: it numbers letters in another order each time.
"""

from functools import cache
from pathlib import Path

from transformers import BertTokenizer

from vwtransfer import tinyworld

LEARNED = Path(tinyworld.__file__).parent / "word_pieces.txt"
FIXED = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
"""Where BERT has them: the class of Grounding DINO knows these ids by number."""


@cache
def pieces() -> list[str]:
    """The tokens that captions are made of."""
    return LEARNED.read_text(encoding="utf-8").split()


def vocabulary() -> dict[str, int]:
    """Every token with its id; ids between BERT's own special ones and the pieces are unused."""
    learned = iter(pieces())
    at = {number: token for token, number in FIXED.items()}
    for number in range(max(at) + 1):
        if number not in at:
            at[number] = next(learned, f"[unused{number}]") if number > 103 else f"[unused{number}]"
    return {at[number]: number for number in sorted(at)}


def bert_tokenizer(context: int) -> BertTokenizer:
    """The tokenizer; texts are not padded to a fixed length."""
    return BertTokenizer(vocab=vocabulary(), model_max_length=context)


def save_support(folder: Path) -> None:
    """Lists the tokens that were trained, one a line."""
    (folder / "support.txt").write_text("".join(f"{piece}\n" for piece in pieces()), "utf-8")

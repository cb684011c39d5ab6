"""Do several signals together, seen without images, foretell a converted word's score?

    python benchmarks/convert.py signals outputs/convert_benchmark_dev outputs/convert_benchmark
    python benchmarks/expected_score.py outputs/convert_benchmark_dev outputs/convert_benchmark

Predictors are compared on the words of the first folder, each concept by a fit on the others; the
one whose predictions rank these words best is then fitted on all of them, and measured on the words
of the second. docs/convert.md

Letters: N words, F features.
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from convert import OURS, RESAMPLES, SIGNALS, rank_correlation
from scipy.stats import ConstantInputWarning

from vwtransfer import results
from vwtransfer.results.statistics import headline

DIRECTION, WORD = ["source", "target"], ["dataset", "concept"]
SHARES = (1.0, 0.75, 0.5, 0.25)  # of words that are kept
WITHIN = 0.9  # of words are to be in their interval
SHRINK = 10.0  # of ridge regression, for features of unit variance


def words_of(folder: Path) -> pd.DataFrame:
    """The signals of each converted word, with the score of the target's own word and anchor."""
    frame = headline(results.read(folder)).astype({"transfer": str, "kind": str})
    untransferred = frame[frame["transfer"] == "none"]
    found = pd.read_csv(folder / "signals.csv")
    for name, kind in (("own", "word"), ("anchor", "anchor")):
        rows = untransferred[untransferred["kind"] == kind]
        rows = rows.astype({"dataset": str, "concept": str, "target_model": str})
        score = rows.set_index([*WORD, "target_model"])["value"].rename(name)
        found = found.join(score, on=[*WORD, "target"])
    return found


def within_direction(frame: pd.DataFrame) -> np.ndarray:
    """The signals [N, F] as ranks among the words that were converted together, 0 to 1."""
    return frame.groupby(DIRECTION)[list(SIGNALS)].rank(pct=True).to_numpy()


def as_they_are(frame: pd.DataFrame) -> np.ndarray:
    """The signals [N, F], an agreement as how little it lacks."""
    values = frame[list(SIGNALS)].to_numpy(copy=True)
    values[:, 0] = -np.log10(1 - values[:, 0].clip(max=1 - 1e-6))
    return values


def with_squares(frame: pd.DataFrame) -> np.ndarray:
    """Ranks and their squares [N, F]."""
    ranks = within_direction(frame)
    return np.concatenate([ranks, ranks**2], axis=1)


FEATURES: Mapping[str, Callable[[pd.DataFrame], np.ndarray]] = {
    "ridge on signals": as_they_are,
    "ridge on ranks": within_direction,
    "ridge on ranks and squares": with_squares,
}


def predicted(name: str, known: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
    """Expected scores [N] of words, by ridge regression on others; each direction has its mean."""
    own, theirs = FEATURES[name](known), FEATURES[name](asked)
    mean, deviation = own.mean(axis=0), own.std(axis=0)
    own, theirs = (own - mean) / deviation, (theirs - mean) / deviation
    means = known.groupby(DIRECTION)["score"].mean()
    score, base = (
        frame.join(means.rename("mean"), on=DIRECTION)["mean"] for frame in (known, asked)
    )
    rest = known["score"].to_numpy() - score.to_numpy()
    slope = np.linalg.solve(own.T @ own + SHRINK * np.eye(own.shape[1]), own.T @ rest)
    return base.to_numpy() + theirs @ slope


def left_out(name: str, frame: pd.DataFrame) -> np.ndarray:
    """Expected scores [N], those of each concept by a fit on the words of the others."""
    found = np.zeros(len(frame))
    for _, rows in frame.groupby(WORD):
        others = frame.drop(rows.index)
        found[rows.index] = predicted(name, others, frame)[rows.index]
    return found


def curve(frame: pd.DataFrame) -> dict[float, tuple[float, float, float]]:
    """Retention of the words that are expected to do best, by their share; 95 % over concepts."""
    concepts = frame[WORD].drop_duplicates().reset_index(drop=True)
    number = frame.merge(concepts.reset_index(), on=WORD)["index"].to_numpy()
    stream = np.random.default_rng(0)
    draws = [np.arange(len(concepts))]
    draws += list(stream.integers(len(concepts), size=(RESAMPLES, len(concepts))))
    values = frame[["expected", "score", "own", "anchor"]].to_numpy()
    directions = frame.groupby(DIRECTION).ngroup().to_numpy()

    def retained(share: float, times: np.ndarray) -> float:
        kept = []
        for direction in np.unique(directions):
            rows = np.repeat(
                np.flatnonzero(directions == direction), times[directions == direction]
            )
            part = values[rows]
            part = part[part[:, 0].argsort(kind="stable")[::-1][: round(share * len(part))]]
            score, own, anchor = part[:, 1:].mean(axis=0)
            kept.append((score - anchor) / (own - anchor))
        return float(np.mean(kept))

    counts = [np.bincount(draw, minlength=len(concepts))[number] for draw in draws]
    found = {}
    for share in SHARES:
        first, *rest = [retained(share, count) for count in counts]
        low, high = np.quantile(rest, [0.025, 0.975])
        found[share] = first, float(low), float(high)
    return found


def main(development: Path, test: Path) -> None:
    """Chooses on the first folder's words, measures on the second's."""
    known, asked = words_of(development), words_of(test)
    ranked = {}
    for name in FEATURES:
        frame = known.assign(expected=left_out(name, known))
        ranked[name] = float(rank_correlation(frame, "expected").split()[0])
        print(f"{name}, {development.name}, left out: {rank_correlation(frame, 'expected')}")
    chosen = max(ranked, key=ranked.__getitem__)
    error = np.abs(left_out(chosen, known) - known["score"])
    width = float(np.quantile(error, WITHIN))
    asked["expected"] = predicted(chosen, known, asked)
    inside = (np.abs(asked["expected"] - asked["score"]) <= width).mean()
    print(f"chosen: {chosen}; {OURS}, {len(asked)} words of {test.name}")
    print(f"rank correlation {rank_correlation(asked, 'expected')}")
    print(f"expected score +- {width:.2f} holds {inside:.2f} of them ({WITHIN} asked)")
    for title, frame in ((chosen, asked), ("agreement", asked.assign(expected=asked["agreement"]))):
        for share, (mean, low, high) in curve(frame).items():
            print(f"{title}: best {share:.0%} of words: {mean:.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    # in some resamples all words of a direction score alike, and correlate with nothing
    warnings.simplefilter("ignore", ConstantInputWarning)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Language identification trained on the columns of a corpus, for languages that share a script and have no model."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from semalign_pl.languages.identification import check_probability

log = logging.getLogger(__name__)

LONGEST = 4
"""Number of characters of the longest n-gram."""
MAX_ROWS = 10_000
"""Maximum number of rows of the corpus that are used, evenly spaced; they are read in a second or two."""
HELD_OUT = 10
"""One row in so many is not trained on, but measured."""
MIN_ROWS = 100
"""Number of rows below which a classifier is not worth trusting."""
GOOD = 0.95
"""Share of held-out texts of each language that must be recognised, or a warning says so."""
_SMOOTHING = 0.5


@dataclass(frozen=True)
class CorpusIdentification:
    """Language identification by a naive Bayes classifier of character n-grams, trained on the columns of a corpus.

    Attributes:
        corpus: Corpus with a column per language, as in ``data.init_args.train``.
        label: Column of the language.
        against: Columns of the languages that a text could be in instead, such as the source language.
        min_probability: Minimum probability of the language, all of them equally likely beforehand.
    """

    corpus: str
    label: str
    against: tuple[str, ...]
    min_probability: float = 0.5

    def __post_init__(self) -> None:
        texts = (("corpus", self.corpus), ("label", self.label), *(("against", name) for name in self.against))
        for key, value in texts:
            if not isinstance(value, str) or not value:
                raise ValueError(f"identification: {key}: {value!r} is no text; give e.g. my/pairs.jsonl, sw and [en]")
        if not self.against or self.label in self.against:
            raise ValueError(
                f"identification: against: {[*self.against]} must name the columns of other languages than "
                f"{self.label!r}; give e.g. [en]"
            )
        check_probability(self.min_probability)

    def accepts(self, text: str) -> bool:
        """Return true if the language has at least the minimum probability; text without letters has none.

        Args:
            text: Text of one or more lines.

        Raises:
            ValueError: If the corpus cannot be read, lacks a column, or has too few rows.
        """
        return _train(self).probabilities(text)[self.label] >= self.min_probability

    @property
    def signature(self) -> str:
        """Every option that changes the result: the corpus' name and digest, the columns and the probability."""
        from semalign_pl.data.reading.sources import content_key  # data is above: only a corpus needs it

        columns = f"{self.label}:{'+'.join(self.against)}"
        digest = content_key(self.corpus)[:12]
        return f"identified:{self.corpus.rpartition('/')[2]}#{digest}|label:{columns}|min_p:{self.min_probability:g}"


class NgramClassifier:
    """Multinomial naive Bayes over character n-grams within words, with a uniform prior.

    Args:
        texts: Training texts by label; no label without text.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]]) -> None:
        counts = {label: Counter(gram for text in own for gram in ngrams(text)) for label, own in texts.items()}
        known = set().union(*counts.values())
        self._unseen: dict[str, float] = {}
        self._weights: dict[str, dict[str, float]] = {}
        for label, own in counts.items():
            total = math.log(own.total() + _SMOOTHING * len(known))
            self._unseen[label] = math.log(_SMOOTHING) - total
            self._weights[label] = {gram: math.log(count + _SMOOTHING) - total for gram, count in own.items()}
        self._known = known

    def probabilities(self, text: str) -> dict[str, float]:
        """Probability of each label; n-grams that no label has are skipped.

        Args:
            text: Text of one or more lines. Without any known n-gram, all labels have probability 0.
        """
        grams = [gram for gram in ngrams(text) if gram in self._known]
        if not grams:
            return dict.fromkeys(self._weights, 0.0)
        logs = {
            label: sum(weights.get(gram, self._unseen[label]) for gram in grams)
            for label, weights in self._weights.items()
        }
        highest = max(logs.values())
        whole = sum(math.exp(value - highest) for value in logs.values())
        return {label: math.exp(value - highest) / whole for label, value in logs.items()}


def ngrams(text: str) -> Iterator[str]:
    """N-grams of one to four characters of each word, case-folded, with a space on both sides.

    Args:
        text: Text; words without a letter are skipped, because numbers and signs are the same in every language.
    """
    for word in text.casefold().split():
        if any(map(str.isalpha, word)):
            padded = f" {word} "
            for size in range(1, LONGEST + 1):
                yield from (padded[at : at + size] for at in range(len(padded) - size + 1))


@lru_cache(maxsize=4)
def _train(settings: CorpusIdentification) -> NgramClassifier:
    """Train a classifier on nine rows of ten, and say how much of the tenth it recognises."""
    from semalign_pl.data.reading.sources import read  # data is above: only a corpus needs it

    columns = (settings.label, *settings.against)
    try:
        rows = list(read(settings.corpus, {name: name for name in columns}).values())
    except ValueError as error:
        raise ValueError(f"identification: corpus: {error}") from error
    rows = [row for row in rows[:: -(-len(rows) // MAX_ROWS)] if len({row[name].casefold() for name in columns}) > 1]
    if len(rows) < MIN_ROWS:
        raise ValueError(
            f"identification: corpus: {settings.corpus} has {len(rows)} rows whose columns differ, too few to tell the "
            f"languages apart; give {MIN_ROWS} or more"
        )
    held = rows[::HELD_OUT]
    train = [row for place, row in enumerate(rows) if place % HELD_OUT]
    classifier = NgramClassifier({name: [row[name] for row in train] for name in columns})
    shares = {name: sum(_best(classifier, row[name]) == name for row in held) / len(held) for name in columns}
    listed = ", ".join(f"{share:.1%} of {name!r}" for name, share in shares.items())
    level = logging.WARNING if min(shares.values()) < GOOD else logging.INFO
    log.log(
        level, "identification: %s: of %d texts not trained on, it recognises %s", settings.corpus, len(held), listed
    )
    return classifier


def _best(classifier: NgramClassifier, text: str) -> str:
    probabilities = classifier.probabilities(text)
    return max(probabilities, key=lambda label: probabilities[label])

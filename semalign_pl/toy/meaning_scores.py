"""Scores of translations that favour no style: meaning by the parser, styles, and several references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from semalign_pl.callbacks.evaluation import Evaluation
from semalign_pl.languages import Language
from semalign_pl.metrics import Bleu4, ChrF
from semalign_pl.metrics.base import RowMetric
from semalign_pl.run.trainer import callbacks_of
from semalign_pl.toy.parser import MIXED, Reading, parse
from semalign_pl.toy.style import CHOICES, wordings


class MeaningScores(Callback):
    """Add scores of the toy world's Tibetan to ``Evaluation``, which must be in the same list of callbacks.

    ``meaning_accuracy`` and ``parsed`` are the shares of predictions that have exactly the reference's meaning, and
    that are a sentence of the toy world. ``style_honorific``, ``style_synonym``, ``style_after_subject``,
    ``style_after_object`` and ``style_witnessed`` are the shares of styles in the predictions that can show them.
    ``style_variation`` is the total variation distance from ``usual`` shares. ``chrf_any_style`` and
    ``bleu4_any_style`` take all wordings of the reference's meaning as references. Rows whose reference is no sentence
    of the toy world are left out, except in the last two.

    Args:
        usual: Share of each of the five styles, by name, such as ``{honorific: 0.4, …}``: that of the base model's own
            text (see `style_shares`). ``None`` for 0.5 each.
    """

    def __init__(self, usual: dict[str, float] | None = None) -> None:
        super().__init__()
        self.usual = dict.fromkeys(_NAMES, 0.5) if usual is None else usual
        wrong = [name for name, share in self.usual.items() if not 0 <= share <= 1]
        if wrong or set(self.usual) != set(_NAMES):
            problem = f"{wrong[0]}: {self.usual[wrong[0]]} is no share" if wrong else f"has the keys {list(self.usual)}"
            raise ValueError(
                f"MeaningScores.usual: {problem}; give a number from 0 to 1 for each of {', '.join(_NAMES)}"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the metrics.

        Raises:
            ValueError: If there is no ``Evaluation``.
        """
        evaluations = [callback for callback in callbacks_of(trainer) if isinstance(callback, Evaluation)]
        if not evaluations:
            raise ValueError("trainer.callbacks: MeaningScores adds to the scores of Evaluation; add Evaluation, too")
        for evaluation in evaluations:
            evaluation.metrics |= {
                "meaning_accuracy": ParsedShare("meaning", _has_meaning),
                "parsed": ParsedShare("parsed", lambda reading, reference: 1.0 if reading else 0.0),
                **{f"style_{name}": ParsedShare(f"style_{name}", _shows(field)) for name, field in _NAMES.items()},
                "style_variation": StyleVariation(self.usual),
                "chrf_any_style": AnyStyleChrF(evaluation.language),
                "bleu4_any_style": AnyStyleBleu4(evaluation.language),
            }


_NAMES = {values[1]: field for field, values in CHOICES.items()}
"""Fields of ``Style``, by their second value."""
_parse = lru_cache(4096)(parse)


def style_shares(texts: list[str]) -> dict[str, float]:
    """Share of each style in the sentences of texts that can show it; NaN if none can.

    Args:
        texts: Tibetan sentences; those that are none of the toy world are left out.
    """
    rows = torch.tensor([_style_counts(_parse(text)) for text in texts], dtype=torch.float64).view(-1, len(_NAMES), 2)
    return dict(zip(_NAMES, (rows[..., 0].sum(0) / rows[..., 1].sum(0)).tolist(), strict=True))


def _has_meaning(reading: Reading | None, reference: Reading) -> float:
    return float(reading is not None and reading.meaning.key() == reference.meaning.key())


def _shows(field: str) -> Callable[[Reading | None, Reading], float | None]:
    """Function that returns 1 for the second value of a style's field, 0 for the first, and ``None`` for neither."""

    def share(reading: Reading | None, reference: Reading) -> float | None:
        value = getattr(reading.style, field) if reading else ""
        return {"": None, MIXED: 0.5}.get(value, float(value == CHOICES[field][1]))

    return share


def _style_counts(reading: Reading | None) -> list[list[float]]:
    """Value (0 to 1) of each field of the style, and whether the sentence shows it (1 or 0)."""
    values = [_shows(field)(reading, reading) if reading else None for field in CHOICES]
    return [[0.0, 0.0] if value is None else [value, 1.0] for value in values]


class ParsedShare(RowMetric):
    """Mean value of the predictions that have one, among rows whose reference is a sentence of the toy world.

    Args:
        name: Name in the signature.
        value: Function of the prediction's reading and the reference's: 0 to 1, or ``None`` to leave the row out. A
            sentence with both common words and synonyms counts as half of each.
    """

    formula = "ratio"

    def __init__(self, name: str, value: Callable[[Reading | None, Reading], float | None]) -> None:
        super().__init__()
        self.name, self._value = name, value

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Value and whether there is one (1 or 0), ``(texts, 2)`` float64."""
        found = []
        for prediction, reference in zip(predictions, references, strict=True):
            wanted = _parse(reference)
            value = None if wanted is None else self._value(_parse(prediction), wanted)
            found.append([0.0, 0.0] if value is None else [value, 1.0])
        return torch.tensor(found, dtype=torch.float64).view(-1, 2)

    @property
    def signature(self) -> str:
        """Name of the value."""
        return f"toy:{self.name}"


class StyleVariation(RowMetric):
    """Total variation distance between the predictions' styles and usual ones, 0 to 1: mean of the five fields.

    Args:
        usual: Usual share of each style, by name.
    """

    higher_is_better = False

    def __init__(self, usual: Mapping[str, float]) -> None:
        super().__init__()
        self._usual = torch.tensor([usual[name] for name in _NAMES], dtype=torch.float64)

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Value of each field and whether it is shown, ``(texts, 10)`` float64."""
        found = [
            _style_counts(_parse(prediction) if _parse(reference) else None)
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return torch.tensor(found, dtype=torch.float64).view(-1, 2 * len(_NAMES))

    def from_total(self, total: Tensor, n: int) -> float:
        """Mean distance of the fields that are shown; NaN if none is."""
        value, shown = total.view(-1, 2).unbind(-1)
        return float((value / shown - self._usual).abs().nanmean())

    def from_row(self, row: Tensor) -> float:
        """NaN: one sentence has no distribution."""
        return float("nan")

    @property
    def signature(self) -> str:
        """Usual shares."""
        shares = "+".join(f"{name}={share:g}" for name, share in zip(_NAMES, self._usual.tolist(), strict=True))
        return f"toy:style_variation|usual:{shares}"


@lru_cache(4096)
def _wordings(language: Language, reference: str) -> tuple[str, ...]:
    """Segmented wordings of a reference's meaning; only the reference if it is no sentence of the toy world."""
    reading = _parse(reference)
    texts = [reference] if reading is None else list(wordings(reading.meaning))
    return tuple(" ".join(language.segment(text)) for text in texts)


class AnyStyleChrF(ChrF):
    """Corpus chrF++ against all wordings of each reference's meaning, by sacrebleu's rules for several references."""

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """N-gram counts of prediction, best reference and both, for each order: ``(texts, 3 * orders)`` float64."""
        rows = []
        for prediction, reference in zip(predictions, references, strict=True):
            streams = [[text] for text in _wordings(self.language, reference)]
            cut = " ".join(self.language.segment(prediction))
            rows += self._chrf._extract_corpus_statistics([cut], streams)
        return torch.tensor(rows, dtype=torch.float64).view(-1, 3 * self._chrf.order)

    @property
    def signature(self) -> str:
        """Signature of chrF++, with a varying number of references."""
        return super().signature.replace("nrefs:1", "nrefs:var")


class AnyStyleBleu4(Bleu4):
    """Corpus BLEU-4 against all wordings of each reference's meaning, by sacrebleu's rules for several references."""

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Unit counts of both texts, then matching and all 1- to 4-grams of the prediction: ``(texts, 10)`` float64."""
        rows = []
        for prediction, reference in zip(predictions, references, strict=True):
            score = self._sentence_bleu.sentence_score(self._cut(prediction), list(_wordings(self.language, reference)))
            rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
        return torch.tensor(rows, dtype=torch.float64).view(-1, 10)

    @property
    def signature(self) -> str:
        """Signature of BLEU-4, with a varying number of references."""
        return super().signature.replace("nrefs:1", "nrefs:var")

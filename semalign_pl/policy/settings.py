"""Settings of a policy, as YAML gives them.

They are apart from the code that uses them, because jsonargparse runs the type-checking imports of the module that
defines a setting: importing PEFT and transformers would slow down every command that reads a recipe by 1.5 seconds.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Variant = Literal["lora", "rslora", "dora", "corda", "osf", "full"]
"""Variants of LoRA that a new adapter can be of."""
Initialization = Literal["pieces", "aligned"]
"""Starts that the rows of new tokens can have."""


@dataclass(frozen=True)
class LoraSettings:
    """Settings of a new LoRA adapter (arXiv 2106.09685); the defaults are the method's.

    Attributes:
        r: Rank of the update.
        alpha: Scale of the update, which is multiplied by ``alpha / r``.
        dropout: Dropout probability on the adapter's input in training.
        target_modules: Layers to adapt: ``all-linear`` (every linear layer except the head and those that PEFT
            refuses), or names of linear layers.
        variant: Variant of LoRA. ``lora``; ``rslora``, whose update is multiplied by ``alpha / sqrt(r)``, so that it
            learns as fast at a high rank (arXiv 2312.03732, theorem 3.2); ``dora``, which trains the length of each
            row of a weight apart from its direction (arXiv 2402.09353, equation 5). A ``dora`` adapter costs more time
            per step, and cannot be scaled. ``corda`` trains the directions of the base's weights that `file` uses
            least (CorDA's knowledge-preserved mode, arXiv 2406.05223); it is saved as plain LoRA of twice the rank.
            ``osf`` trains the directions of the `r` smallest singular values of each weight, with gradients orthogonal
            to all others (arXiv 2504.07097), and is saved likewise. ``full`` trains all weights of a small base, in
            float32, and takes no other setting.
        file: Text file in UTF-8 for ``corda``, one text per line, whose knowledge is to be preserved: the first 256
            texts, of at most 2048 tokens each.
    """

    r: int = 64
    alpha: int = 128
    dropout: float = 0.05
    target_modules: str | list[str] | tuple[str, ...] = "all-linear"
    variant: Variant = "lora"
    file: str | None = None

    def __post_init__(self) -> None:
        """Refuse an alpha that trains nothing, an invalid pattern, and a setting that the variant does not use.

        Raises:
            ValueError: Names the option and the remedy.
        """
        if self.alpha <= 0:
            raise ValueError(f"model.init_args.lora.alpha: {self.alpha} would leave the base as it is; use e.g. 2 * r")
        if (self.variant == "corda") != (self.file is not None):
            wrong = "names no text to preserve; give a `file`" if self.file is None else "is for variant corda only"
            raise ValueError(f"model.init_args.lora.{'variant: corda' if self.file is None else 'file'}: {wrong}")
        own = [name for name in ("r", "alpha", "dropout", "target_modules") if getattr(self, name) != _default(name)]
        if self.variant == "full" and own:
            raise ValueError(
                f"model.init_args.lora.{own[0]}: {getattr(self, own[0])} is of no use to variant: full, which trains "
                "all weights; leave it out"
            )
        try:
            re.compile(self.target_modules if isinstance(self.target_modules, str) else "")
        except re.error as error:
            raise ValueError(
                f"model.init_args.lora.target_modules: {self.target_modules!r} is no regular expression ({error}); "
                "correct it, or give a list of names"
            ) from error


def _default(name: str) -> object:
    return LoraSettings.__dataclass_fields__[name].default


@dataclass(frozen=True)
class VocabularySettings:
    """Settings of new tokens for a language that the base's tokenizer splits into bytes.

    The rows of new tokens in the embedding (and in the head) are trained together with LoRA, and saved with the adapter
    and the tokenizer. Text without any of the new tokens is
    tokenised as before. In a script that languages share (Latin, Cyrillic), text of another language may contain some.

    Attributes:
        language: Code of the language, which defines the units of its text.
        corpus: Source of text in the language, as in ``data.init_args.train``.
        column: Name of the corpus column with the text.
        tokens: Maximum number of new tokens; the most frequent ones are added.
        min_count: Minimum number of occurrences of a new token in the corpus.
        lr: Learning rate of the new tokens' rows; by default that of the optimiser. The schedule multiplies both.
        initialization: Start of the new rows. ``pieces``: the mean of the rows of a token's pieces. ``aligned``: the
            weighted mean of the rows of the source-language tokens that it translates, found by word alignment of the
            corpus (IBM model 1); see policy/row_initialization.py. The base, which is the reference of a new adapter,
            keeps the mean of pieces.
        source_column: Name of the corpus column with the same rows in a language that the base knows, for ``aligned``.
    """

    language: str
    corpus: str
    column: str
    tokens: int = 1000
    min_count: int = 5
    lr: float | None = None
    initialization: Initialization = "pieces"
    source_column: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers below 1, a learning rate that is no positive number, and an alignment without its column.

        Raises:
            ValueError: Names the option.
        """
        for name in ("tokens", "min_count"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"model.init_args.vocabulary.{name}: {getattr(self, name)} is not a positive whole number; "
                    "give 1 or more"
                )
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ValueError(
                f"model.init_args.vocabulary.lr: {self.lr} is not a positive number; leave it out for the "
                "optimiser's learning rate"
            )
        if (self.initialization == "aligned") != (self.source_column is not None):
            wrong = (
                "initialization: aligned needs the column of the translations; give source_column, such as en"
                if self.source_column is None
                else f"source_column: {self.source_column!r} is of no use without initialization: aligned; add it"
            )
            raise ValueError(f"model.init_args.vocabulary.{wrong}")
        if self.source_column == self.column:
            raise ValueError(
                f"model.init_args.vocabulary.source_column: {self.source_column!r} is the column of the new tokens "
                "themselves; name the column of the translations, such as en"
            )

"""Token statistics: token ids of texts, and the shares of unknown tokens and of fragments of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any


class TokenCounter:
    """Tokenizer of a model. The model's weights are not loaded, and no special tokens are added.

    Args:
        model: Hub id or folder.

    Raises:
        ValueError: If no tokenizer can be loaded.
    """

    def __init__(self, model: str) -> None:
        from transformers import AutoTokenizer

        from semalign_pl.policy.causal_lm import check_folder, load_reason

        check_folder("--model", model)
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        except Exception as error:  # transformers and tokenizers raise many kinds here, bare Exception among them
            raise ValueError(
                f"--model: no tokenizer can be loaded from {model!r} ({load_reason(error)[:200]}); give a folder that "
                "holds tokenizer.json, or a hub id that this machine can reach, or leave --model out"
            ) from error
        self.model = model
        if self.tokenizer.is_fast:  # tokenizer.json may set truncation and padding, as those of encoders do
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        if self.tokenizer.is_fast:
            encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            return [encoding.ids for encoding in encoded]
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def fragments(self, ids: Iterable[int]) -> set[int]:
        """Subset of the ids that decode to bytes of an incomplete character, as in byte-level tokenizers."""
        unknown = self.unknown
        return {i for i in ids if i != unknown and "\ufffd" in self.tokenizer.decode([i])}

    @property
    def unknown(self) -> int | None:
        """Id of the unknown token; ``None`` if the tokenizer has none."""
        return self.tokenizer.unk_token_id

    def shares(self, counts: Counter[int]) -> dict[str, float]:
        """Shares of tokens that are fragments of a character (``fragments``) and the unknown token (``unknown``).

        Args:
            counts: Number of occurrences of each token id.
        """
        total, fragments = counts.total(), self.fragments(counts)
        unknown = 0 if self.unknown is None else counts[self.unknown]
        return {
            "fragments": sum(counts[i] for i in fragments) / total if total else 0.0,
            "unknown": unknown / total if total else 0.0,
        }

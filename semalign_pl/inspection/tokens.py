"""What a model's tokenizer makes of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any


class TokenCounter:
    """A model's tokenizer, without its weights and without special tokens.

    Args:
        model: Hub id or folder.

    Raises:
        ValueError: If there is no tokenizer to load.
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
        if self.tokenizer.is_fast:  # tokenizer.json may cut and pad, as encoders' do
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        if self.tokenizer.is_fast:
            encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            return [encoding.ids for encoding in encoded]
        return self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]

    def fragments(self, ids: Iterable[int]) -> set[int]:
        """Those of the ids that stand for bytes that are no whole characters, as byte-level tokenizers have them."""
        unknown = self.unknown
        return {i for i in ids if i != unknown and "\ufffd" in self.tokenizer.decode([i])}

    @property
    def unknown(self) -> int | None:
        """The id of what the tokenizer cannot write; ``None`` where it can write everything."""
        return self.tokenizer.unk_token_id

    def shares(self, counts: Counter[int]) -> dict[str, float]:
        """Shares of the tokens that are fragments of a character, and that are the unknown token.

        Args:
            counts: How often each id occurs.
        """
        total, parts = counts.total(), self.fragments(counts)
        unknown = 0 if self.unknown is None else counts[self.unknown]
        return {
            "fragments": sum(counts[i] for i in parts) / total if total else 0.0,
            "unknown": unknown / total if total else 0.0,
        }

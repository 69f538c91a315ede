"""Encode texts so that a literal control token, such as ``<|im_end|>`` in a corpus, stays plain text.

A text is cut after the first character of every control token in it, and the pieces are encoded one by one: no piece
holds a whole control token, and decoding gives the text back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CUT = "\ufdd0\ufdd1"
"""Marks a cut. Two noncharacters, which Unicode reserves for use inside a program, so no text holds them."""

_LIKE_A_MARK = re.compile(r"[<\[{|].*[>\]}|]", re.DOTALL)
_REASONING = re.compile(r"</?think(ing)?>")


@dataclass(frozen=True)
class ControlTokens:
    """Tokens that only a template may write.

    Attributes:
        contents: Each token's text, two characters or more.
        pattern: Finds the leftmost and longest one.
    """

    contents: tuple[str, ...]
    pattern: re.Pattern[str]

    def guard(self, text: str) -> str:
        """The text with a `CUT` in every control token; the text itself where it holds none.

        Args:
            text: A message or a reference.
        """
        if not self.contents or not self.pattern.search(text):
            return text
        return re.sub(f"(?s)(?={self.pattern.pattern}).", lambda first: first[0] + CUT, text)


def control_tokens(tokenizer: Any, rendered: str) -> ControlTokens:
    """The tokenizer's special tokens, and other added tokens that the chat template writes around turns.

    Added tokens that are not special are text elsewhere (Gemma's ``<table>``, Qwen's ``<tool_call>``), and so are
    reasoning marks (``<think>``), which an assistant turn may hold.

    Args:
        tokenizer: Tokenizer of the base.
        rendered: A conversation in the template.
    """
    contents = set(tokenizer.all_special_tokens)
    for token in tokenizer.added_tokens_decoder.values():
        own = _LIKE_A_MARK.fullmatch(token.content) and not _REASONING.fullmatch(token.content)
        if token.special or (own and token.content in rendered):
            contents.add(token.content)
    longest_first = sorted((c for c in contents if len(c) > 1 and not c.isspace()), key=lambda c: (-len(c), c))
    return ControlTokens(tuple(longest_first), re.compile("(?:" + "|".join(map(re.escape, longest_first)) + ")"))


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, no special tokens added.

    Args:
        tokenizer: Tokenizer of the base.
        texts: Texts, with a `CUT` in each control token that is to stay plain text.
    """
    whole = iter(_encode(tokenizer, [text for text in texts if CUT not in text]))
    return [_encode_pieces(tokenizer, text.split(CUT)) if CUT in text else next(whole) for text in texts]


def _encode_pieces(tokenizer: Any, pieces: Sequence[str]) -> list[int]:
    """Each piece but the first is encoded after a line break, or SentencePiece would put a space before it."""
    first, line_break, *rest = _encode(tokenizer, [pieces[0], "\n", *("\n" + piece for piece in pieces[1:])])
    ids = list(first)
    for piece, encoded in zip(pieces[1:], rest, strict=True):
        joined = encoded[: len(line_break)] == line_break
        ids += encoded[len(line_break) :] if joined else _encode(tokenizer, [piece])[0]
    return ids


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast and not tokenizer.split_special_tokens else None
    if backend is None or backend.truncation or backend.padding or backend.encode_special_tokens:
        plain = {"add_special_tokens": False, "split_special_tokens": False}
        return tokenizer(list(texts), **plain)["input_ids"] if texts else []
    return [row.ids for row in backend.encode_batch_fast(list(texts), add_special_tokens=False)]  # without offsets

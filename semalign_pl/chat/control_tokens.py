"""Encode texts so that a literal control token, such as ``<|im_end|>`` in a corpus, stays plain text.

A text is cut after the first character of every control token in it, and the pieces are encoded separately. So no piece
contains a whole control token, and decoding restores the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CUT = "\ufdd0\ufdd1"
"""Mark of a cut: two noncharacters, which Unicode reserves for use inside a program, so no text contains them."""

_LIKE_A_MARK = re.compile(r"[<\[{|].*[>\]}|]", re.DOTALL)
_REASONING = re.compile(r"</?think(ing)?>")


@dataclass(frozen=True)
class ControlTokens:
    """Control tokens: tokens that only a template may write.

    Attributes:
        contents: Texts of the tokens, of two or more characters each.
        pattern: Pattern that finds the leftmost and longest token.
    """

    contents: tuple[str, ...]
    pattern: re.Pattern[str]

    def guard(self, text: str) -> str:
        """Put a `CUT` into every control token of a text.

        Args:
            text: Message or reference.

        Returns:
            Text with cuts; unchanged if it contains no control token.
        """
        if not self.contents or not self.pattern.search(text):
            return text
        return re.sub(f"(?s)(?={self.pattern.pattern}).", lambda first: first[0] + CUT, text)


def control_tokens(tokenizer: PreTrainedTokenizerBase, rendered: str) -> ControlTokens:
    """Find the control tokens: special tokens, and other added tokens that the chat template writes around turns.

    All other added tokens count as text (Gemma's ``<table>``, Qwen's ``<tool_call>``). So do reasoning marks
    (``<think>``), which an assistant turn may contain.

    Args:
        tokenizer: Tokenizer of the base.
        rendered: Conversation as rendered by the template.
    """
    contents = set(tokenizer.all_special_tokens)
    for token in tokenizer.added_tokens_decoder.values():
        own = _LIKE_A_MARK.fullmatch(token.content) and not _REASONING.fullmatch(token.content)
        if token.special or (own and token.content in rendered):
            contents.add(token.content)
    longest_first = sorted((c for c in contents if len(c) > 1 and not c.isspace()), key=lambda c: (-len(c), c))
    return ControlTokens(tuple(longest_first), re.compile("(?:" + "|".join(map(re.escape, longest_first)) + ")"))


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Token id of a token of the vocabulary.

    Args:
        tokenizer: Tokenizer of the base.
        token: Text of the token.
    """
    index = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(index, int), "transformers returns a list only for a list of tokens"
    return index


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, without adding special tokens.

    Args:
        tokenizer: Tokenizer of the base.
        texts: Texts, with a `CUT` in each control token that is to stay plain text.

    Returns:
        Token ids, one list per text.
    """
    whole = iter(_encode(tokenizer, [text for text in texts if CUT not in text]))
    return [_encode_pieces(tokenizer, text.split(CUT)) if CUT in text else next(whole) for text in texts]


def _encode_pieces(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[str]) -> list[int]:
    """Token ids of a cut text; later pieces are encoded after a line break, or SentencePiece would add a space."""
    first, line_break, *rest = _encode(tokenizer, [pieces[0], "\n", *("\n" + piece for piece in pieces[1:])])
    ids = list(first)
    for piece, encoded in zip(pieces[1:], rest, strict=True):
        joined = encoded[: len(line_break)] == line_break
        ids += encoded[len(line_break) :] if joined else _encode(tokenizer, [piece])[0]
    return ids


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    from transformers import PreTrainedTokenizerFast

    backend = tokenizer.backend_tokenizer if isinstance(tokenizer, PreTrainedTokenizerFast) else None
    splits = tokenizer.split_special_tokens
    if backend is None or splits or backend.truncation or backend.padding or backend.encode_special_tokens:
        whole = list(texts)
        return tokenizer(whole, add_special_tokens=False, split_special_tokens=False)["input_ids"] if whole else []
    return [row.ids for row in backend.encode_batch_fast(list(texts), add_special_tokens=False)]  # no offsets

"""Prompt encoder: prompts and answers to token ids, and completions back to text, without weights."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from semalign_pl.chat.control_tokens import CUT, encode_texts
from semalign_pl.chat.find_format import find_chat, text_start
from semalign_pl.chat.format import Chat
from semalign_pl.chat.turns import adapt, shorten, unrendered_roles
from semalign_pl.types import CannotRender, Prompt, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
FORMAT = 1
"""Number of the encoding: raise it when a change to this room changes the token ids of any text."""
_PROBES = ("\x00", " 问 \n", "<a> {b}")
T = TypeVar("T")


class PromptEncoder:
    """Tokenizer of a base with its chat template and the tokens that end a completion.

    Args:
        tokenizer: Tokenizer of the base, with the new tokens if there are any.
        eos_ids: Token ids that end a completion. The first one is appended to training completions: the chat template's
            end token, or else the tokenizer's ``eos_token``.
        new_tokens: Token ids of the pieces of each token that was added to the base's tokenizer, by its token id.

    Attributes:
        pad_id: Token id for padding: the tokenizer's, or else the first of ``eos_ids``.
        truncated_prompts: Number of prompts that ``encode_prompt`` has shortened.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        eos_ids: tuple[int, ...],
        new_tokens: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self.tokenizer, self.eos_ids = tokenizer, eos_ids
        self.new_tokens = dict(new_tokens or {})
        pad = tokenizer.pad_token_id
        self.pad_id: int = pad if isinstance(pad, int) else eos_ids[0]
        self.truncated_prompts = 0
        self._merges_system = False
        self._chat: tuple[object, Chat] | None = None

    @property
    def chat(self) -> Chat:
        """Format of the tokenizer's chat template, computed once per template and vocabulary."""
        key = (self.tokenizer.chat_template, len(self.tokenizer))
        if self._chat is None or self._chat[0] != key:
            self._chat = key, find_chat(self.tokenizer)
        return self._chat[1]

    def encode_prompt(self, prompt: Prompt, max_tokens: int) -> list[int]:
        """Token ids of a prompt, up to the start of the assistant's answer.

        The tokenizer's chat template is used, with thinking off if it has the switch (Qwen3). Only the template writes
        control tokens: a literal ``<|im_end|>`` in a message stays plain text.

        If a conversation is too long, its oldest exchanges are left out and the system turn is kept. If it is still too
        long, the last *message* is cut at its end, never the template. ``truncated_prompts`` counts the prompts that
        were shortened in either way.

        Args:
            prompt: User's message, or all turns of a conversation.
            max_tokens: Maximum number of tokens.

        Returns:
            Token ids of the prompt.

        Raises:
            CannotRender: If the chat template does not render one of the turns, or refuses its text.
            ValueError: If not even an empty message fits.
        """
        arrange = self._arranger([prompt])

        def encode(one: Prompt) -> list[int]:
            return self.chat.encode(arrange(one))

        ids = encode(prompt)
        if len(ids) <= max_tokens:
            return ids
        self.truncated_prompts += 1
        if shortened := shorten(self.chat, prompt, encode, max_tokens):
            return shortened
        needs = "the chat template itself needs" if isinstance(prompt, str) else "the template and the system turn need"
        raise _too_small(max_tokens, needs)

    def encode_prompts(self, prompts: Sequence[Prompt], max_tokens: int) -> tuple[list[list[int]], list[bool]]:
        """Token ids of many prompts at once, as ``encode_prompt`` returns them, about ten times as fast.

        ``truncated_prompts`` does not change.

        Args:
            prompts: Prompts, each a user's message or the turns of a conversation.
            max_tokens: Maximum number of tokens per prompt.

        Returns:
            Token ids, one list per prompt, empty for a conversation that cannot be shortened to fit; and one flag per
            prompt, true if it was too long.

        Raises:
            CannotRender: If the chat template does not render a turn, or refuses its text; has the prompt's index.
            ValueError: If not even an empty message fits.
        """
        arrange = self._arranger(prompts)
        encoded = _encode_whole(self.chat, [arrange(prompt) for prompt in prompts])
        cut = [len(ids) > max_tokens for ids in encoded]
        for place in (place for place, is_cut in enumerate(cut) if is_cut):
            shortened = shorten(self.chat, prompts[place], lambda one: self.chat.encode(arrange(one)), max_tokens)
            if not shortened and isinstance(prompts[place], str):
                raise _too_small(max_tokens, "the chat template itself needs")
            encoded[place] = shortened or []
        return encoded, cut

    def write_prompt(self, prompt: Prompt) -> str:
        """Text of a prompt, up to the start of the assistant's answer, as ``encode_prompt`` encodes it.

        Args:
            prompt: User's message, or all turns of a conversation.

        Raises:
            CannotRender: If the chat template does not render one of the turns, or refuses its text.
        """
        return self.chat.text(self._arranger([prompt])(prompt)).replace(CUT, "")

    def _arranger(self, prompts: Sequence[Prompt]) -> Callable[[Prompt], Prompt]:
        """Function that changes one of these prompts, also shortened, so that the template renders all of it.

        Raises:
            CannotRender: If the chat template does not render a turn.
        """
        talks = {place: prompt for place, prompt in enumerate(prompts) if not isinstance(prompt, str)}
        if not talks:
            return lambda prompt: prompt
        faults = {} if self.chat.template is None else unrendered_roles(self.chat.render)
        for place, turns in talks.items():
            _at(place, lambda turns: adapt(turns, faults), turns)
        if "system" in faults and not self._merges_system and any(t[0].role == "system" for t in talks.values()):
            self._merges_system = True
            log.warning(
                "the chat template has no system turn (%s): system texts go before the first user message",
                faults["system"],
            )
        return lambda prompt: adapt(prompt, faults)

    def encode_completion(self, completion: str) -> list[int]:
        """Token ids of a reference completion, as the chat template writes an answer, including its end token.

        Args:
            completion: Reference completion; control tokens in it stay plain text.

        Returns:
            Token ids; the last one is ``eos_ids[0]``. Appended to those of ``encode_prompt``, they give the sequence
            that generation would give, so the prompt's tokens are a true prefix.
        """
        return self.encode_completions([completion])[0]

    def encode_completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many reference completions at once, as ``encode_completion`` returns them.

        Args:
            texts: Reference completions.

        Returns:
            Token ids, one list per completion.
        """
        return [[*ids, self.eos_ids[0]] for ids in self.chat.encode_answers(texts)]

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of documents of raw text, without the chat template; each ends in the tokenizer's EOS token.

        Args:
            texts: Texts of the documents; control tokens in them stay plain text.

        Returns:
            Token ids, one list per document. They begin with what the tokenizer writes before a text, such as BOS.
        """
        start, eos = text_start(self.tokenizer), self.tokenizer.eos_token_id
        end = eos if isinstance(eos, int) else self.eos_ids[0]
        guarded = [self.chat.control.guard(text) for text in texts]
        return [[*start, *ids, end] for ids in encode_texts(self.tokenizer, guarded)]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of completions, without special tokens, end token, and text that the chat template adds.

        Args:
            ids: Token ids, one list per completion.

        Returns:
            Texts, one per completion. An incomplete byte sequence becomes U+FFFD, which no language rule accepts.
        """
        if not ids:
            return []
        ended = [bool(row) and row[-1] in self.eos_ids for row in ids]
        # The end token is removed here because it need not be a special token.
        rows = [list(row[:-1] if end else row) for row, end in zip(ids, ended, strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        before, after = self.chat.shown
        texts = [text.removeprefix(before) for text in texts]
        return [text.removesuffix(after) if end else text for text, end in zip(texts, ended, strict=True)]

    def signature(self) -> str:
        """Hash of everything that token ids depend on: tokenizer, chat template, end-of-turn token, and `FORMAT`."""
        from transformers import PreTrainedTokenizerFast

        tokenizer = self.tokenizer
        fast = isinstance(tokenizer, PreTrainedTokenizerFast)
        whole = tokenizer.backend_tokenizer.to_str() if fast else json.dumps(tokenizer.get_vocab(), sort_keys=True)
        settings = json.dumps([tokenizer.chat_template, tokenizer.special_tokens_map], sort_keys=True, default=str)
        content = f"{type(tokenizer).__name__}\n{settings}\n{whole}\n{FORMAT}"
        return f"{hashlib.sha256(content.encode()).hexdigest()[:24]}/{self.eos_ids[0]}"


def message_frame(write: Callable[[str], str]) -> tuple[str, str] | None:
    """Text of a prompt before and after the user's message; ``None`` if it depends on the message.

    For example, a template may trim the message.

    Args:
        write: Function from a message to the text of its prompt.
    """
    try:
        texts = [write(probe) for probe in _PROBES]
    except CannotRender:
        return None
    before, _, after = texts[0].partition(_PROBES[0])
    return (before, after) if texts == [before + probe + after for probe in _PROBES] else None


def _encode_whole(chat: Chat, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of prompts of any length, by one call of the tokenizer.

    Rendering takes longer than encoding, so prompts that begin alike are rendered once: messages without a system text,
    and those with the same one.

    Raises:
        CannotRender: If the template cannot render a prompt; has the prompt's index.
    """
    heads = [_head(prompt) for prompt in prompts]
    often = [head for head, count in Counter(heads).items() if head is not None and count > len(_PROBES)]
    found = {head: message_frame(lambda text, head=head: chat.text([*head, Turn("user", text)])) for head in often}
    frames = {head: frame for head, frame in found.items() if frame is not None}
    texts = []
    for place, (prompt, head) in enumerate(zip(prompts, heads, strict=True)):
        if head in frames:
            before, after = frames[head]
            message = prompt if isinstance(prompt, str) else prompt[-1].content
            texts.append(before + chat.control.guard(message) + after)
        else:
            texts.append(_at(place, chat.text, prompt))
    return [[*chat.start, *ids] for ids in encode_texts(chat.tokenizer, texts)]


def _head(prompt: Prompt) -> tuple[Turn, ...] | None:
    """Turns before a single user's message: none, or a system turn; ``None`` for any other conversation."""
    if isinstance(prompt, str):
        return ()
    roles = [turn.role for turn in prompt]
    return tuple(prompt[:-1]) if roles in (["user"], ["system", "user"]) else None


def _at(place: int, make: Callable[[Prompt], T], prompt: Prompt) -> T:
    """Result of ``make``, whose `CannotRender` gets the prompt's index."""
    try:
        return make(prompt)
    except CannotRender as error:
        raise CannotRender(str(error), place) from error


def _too_small(max_tokens: int, needs: str) -> ValueError:
    return ValueError(f"model.init_args.max_prompt_tokens: {max_tokens} is less than {needs}; raise it")

"""Layout of prompts and answers by a tokenizer's chat template, as text and as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from semalign_pl.policy.bounded_template import TemplateLimitError, render_chat
from semalign_pl.policy.control import ControlTokens, encode_texts
from semalign_pl.policy.turns import format_plain, messages_of
from semalign_pl.types import CannotRender, Prompt, Turn


@dataclass(frozen=True)
class Chat:
    """Layout of a conversation by a tokenizer's chat template, or by a tokenizer without one.

    Attributes:
        tokenizer: Tokenizer of the base.
        template: Jinja source that transformers is given; ``None`` where the tokenizer has no template.
        typed: Roles whose content the template wants as a list of typed parts, as those of vision models do.
        start: Token ids that begin a prompt without template: what the tokenizer itself puts before a text.
        opening: Header of an answer that the template leaves to the caller; ends every prompt.
        lead: Text that the template writes between prompt and answer.
        trail: Text that the template writes between an answer and the token that ends it.
        end: Token that ends an answer; ``None`` where the template writes none.
        context: End of every prompt, where an answer's tokens depend on it; else empty.
        shown: Text before and after the answer in a decoded completion: `lead` and `trail`, without special tokens.
        control: Tokens that only the template may write.
        notes: Lines for the user, one fact each.
    """

    tokenizer: Any
    template: str | None = None
    typed: frozenset[str] = frozenset()
    start: tuple[int, ...] = ()
    opening: str = ""
    lead: str = ""
    trail: str = ""
    end: str | None = None
    context: str = ""
    shown: tuple[str, str] = ("", "")
    control: ControlTokens = field(kw_only=True)
    notes: tuple[str, ...] = ()

    def render(self, turns: Sequence[Turn], generation: bool = True) -> str:
        """Turns in the template; raises whatever the template raises.

        Thinking is off where the template has the switch, in prompts and whole conversations. Qwen3's template then
        gives the generation prompt the empty reasoning block that it gives every last answer, so that prompt and
        completion are a prefix of the whole.

        Args:
            turns: A conversation.
            generation: End where the answer begins.
        """
        messages = messages_of(turns, self.typed)
        options = {"add_generation_prompt": generation, "enable_thinking": False}
        return render_chat(self.tokenizer, messages, self.template, **options)

    def text(self, prompt: Prompt) -> str:
        """A prompt as text, up to where the answer begins; control tokens in messages are cut (`control.CUT`).

        Args:
            prompt: A user's message, or turns; without a template each is followed by a line break.

        Raises:
            CannotRender: If the template raises, or leaves a user's message out.
        """
        turns = [Turn("user", prompt)] if isinstance(prompt, str) else prompt
        turns = [replace(turn, content=self.control.guard(turn.content)) for turn in turns]
        if self.template is None:
            return format_plain(turns, self.tokenizer.eos_token or "")
        try:
            text = self.render(turns)
        except TemplateLimitError as error:  # no fault of the row: the run ends
            raise ValueError(f"model.init_args.base: the chat template is out of bounds: {error}") from error
        except Exception as error:  # a template is a program of strangers
            raise CannotRender(
                f"the chat template of model.init_args.base refuses it ({reason_of(error)}); drop the row, or use a "
                "base whose template renders it"
            ) from error
        squeezed = _squeeze(text)
        if any(_squeeze(turn.content) not in squeezed for turn in turns if turn.role == "user"):
            raise CannotRender(
                "the chat template of model.init_args.base leaves the user's message out; drop the row, or use a base "
                "whose template renders it"
            )
        return text + self.opening

    def encode(self, prompt: Prompt) -> list[int]:
        """A prompt as token ids, up to where the answer begins.

        Args:
            prompt: A user's message, or turns.

        Raises:
            CannotRender: See `text`.
        """
        return [*self.start, *encode_texts(self.tokenizer, [self.text(prompt)])[0]]

    def encode_answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Answers as token ids that follow a prompt's, without the token that ends them.

        Args:
            texts: Answers.
        """
        wanted = [self.lead + self.control.guard(text) + self.trail for text in texts]
        if not self.context:
            return encode_texts(self.tokenizer, wanted)
        (before,) = encode_texts(self.tokenizer, [self.context])
        joined = encode_texts(self.tokenizer, [self.context + text for text in wanted])
        # An answer that merges with the prompt's last token (a line break, say) is encoded as generation writes it.
        return [
            ids[len(before) :] if ids[: len(before)] == before else encode_texts(self.tokenizer, [text])[0]
            for ids, text in zip(joined, wanted, strict=True)
        ]


def _squeeze(text: str) -> str:
    return "".join(text.split())


def reason_of(error: Exception) -> str:
    """An error's message in one line.

    Args:
        error: Exception that a template raised.
    """
    return " ".join(str(error).split())[:200] or type(error).__name__

"""Render prompts and answers with a tokenizer's chat template, as text and as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from semalign_pl.chat.bounded_template import TemplateLimitError, render_chat
from semalign_pl.chat.control_tokens import ControlTokens, encode_texts
from semalign_pl.chat.given_template import OPTION
from semalign_pl.chat.turns import format_plain, messages_of
from semalign_pl.messages.error_text import single_line
from semalign_pl.types import CannotRender, Prompt, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Chat:
    """Format of prompts and answers, from a tokenizer's chat template or for a tokenizer without one.

    Attributes:
        tokenizer: Tokenizer of the base.
        template: Jinja source of the template; ``None`` if the tokenizer has no template.
        typed: Roles whose content must be a list of typed parts, as in templates of vision models.
        start: Token ids before a prompt without a template: those that the tokenizer adds before a text, such as BOS.
        opening: Header of an answer that the template leaves to the caller; appended to every prompt.
        lead: Text that the template writes between prompt and answer.
        trail: Text that the template writes between an answer and its end token.
        end: Token that ends an answer; ``None`` if the template writes none.
        context: End of every prompt if the tokens of an answer depend on it; else empty.
        shown: Text before and after the answer in a decoded completion: `lead` and `trail` without special tokens.
        control: Tokens that only the template may write.
        notes: Messages for the user, one fact each.
    """

    tokenizer: PreTrainedTokenizerBase
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
        """Render turns with the template.

        Thinking is off if the template has the switch, in prompts and in whole conversations. Qwen3's template then
        writes the same empty reasoning block into the generation prompt as into every last answer, so that prompt and
        completion are a prefix of the whole conversation.

        Args:
            turns: Turns of a conversation.
            generation: Flag to append the generation prompt, after which an answer begins.

        Returns:
            Text of the conversation.

        Raises:
            Exception: Any exception that the template raises.
        """
        messages = messages_of(turns, self.typed)
        options = {"add_generation_prompt": generation, "enable_thinking": False}
        return render_chat(self.tokenizer, messages, self.template, **options)

    def text(self, prompt: Prompt) -> str:
        """Text of a prompt, up to the start of the answer; control tokens in messages are cut (`control_tokens.CUT`).

        Args:
            prompt: User's message, or turns of a conversation. Without a template, turns are joined by `format_plain`.

        Returns:
            Text of the prompt.

        Raises:
            CannotRender: If the template raises, or leaves a user's message out.
            ValueError: If the template exceeds a limit of time or memory.
        """
        turns = [Turn("user", prompt)] if isinstance(prompt, str) else prompt
        turns = [replace(turn, content=self.control.guard(turn.content)) for turn in turns]
        if self.template is None:
            return format_plain(turns, str(self.tokenizer.eos_token or ""))
        try:
            text = self.render(turns)
        except TemplateLimitError as error:  # not the row's fault, so the run ends
            raise ValueError(
                f"model.init_args.base: the chat template is out of bounds: {error}; give another one as {OPTION}"
            ) from error
        except Exception as error:  # a template may raise anything
            raise CannotRender(
                f"the chat template of model.init_args.base refuses it ({single_line(error, 200)}); drop the row, or "
                f"give a template that renders it as {OPTION}"
            ) from error
        squeezed = _squeeze(text)
        if any(_squeeze(turn.content) not in squeezed for turn in turns if turn.role == "user"):
            raise CannotRender(
                "the chat template of model.init_args.base leaves the user's message out; drop the row, or give a "
                f"template that renders it as {OPTION}"
            )
        return text + self.opening

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, up to the start of the answer.

        Args:
            prompt: User's message, or turns of a conversation.

        Raises:
            CannotRender: If the template raises, or leaves a user's message out.
            ValueError: If the template exceeds a limit of time or memory.
        """
        return [*self.start, *encode_texts(self.tokenizer, [self.text(prompt)])[0]]

    def encode_answers(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of answers, to follow those of a prompt; without the end token.

        Args:
            texts: Texts of the answers.

        Returns:
            Token ids, one list per answer.
        """
        wanted = [self.lead + self.control.guard(text) + self.trail for text in texts]
        if not self.context:
            return encode_texts(self.tokenizer, wanted)
        (before,) = encode_texts(self.tokenizer, [self.context])
        joined = encode_texts(self.tokenizer, [self.context + text for text in wanted])
        # If an answer merges with the last token of the prompt, such as a line break, it is encoded alone: generation
        # cannot merge with a prompt.
        return [
            ids[len(before) :] if ids[: len(before)] == before else encode_texts(self.tokenizer, [text])[0]
            for ids, text in zip(joined, wanted, strict=True)
        ]


def _squeeze(text: str) -> str:
    return "".join(text.split())

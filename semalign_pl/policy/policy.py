"""Policy: a causal LM with adapters and its tokenizer, which can act as policy, reference or base."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from semalign_pl.chat import batch as text
from semalign_pl.chat.find_format import find_chat
from semalign_pl.chat.format import Chat
from semalign_pl.chat.turns import adapt, shorten
from semalign_pl.engine.head import head_logprobs, linear_logprobs
from semalign_pl.policy.token_rows import rows_of
from semalign_pl.types import CannotRender, Prompt

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)
Role = Literal["policy", "reference", "base"]


class Policy(nn.Module):
    """PEFT causal LM with its tokenizer.

    Args:
        model: PEFT model whose trainable adapter is named ``default``; it may also have a frozen adapter named
            ``reference``.
        tokenizer: Tokenizer of the base model.
        eos_ids: Token ids that end a completion. The first one is appended to training completions: the chat template's
            end token, or else the tokenizer's ``eos_token``.

    Attributes:
        pad_id: Token id for padding: the tokenizer's, or else the first of ``eos_ids``.
        truncated_prompts: Number of prompts that ``encode_prompt`` has shortened.
        prefix_sharing_unsupported_reason: Reason why completions cannot share their prompt's forward in this
            architecture; ``None`` if they can.
        padding_leaks: True if padding on the left changes the states of a prompt, as in recurrent layers; only prompts
            of equal length are then prefilled together.
    """

    def __init__(self, model: PeftModel, tokenizer: Any, eos_ids: tuple[int, ...]) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.eos_ids = eos_ids
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos_ids[0]
        self.truncated_prompts = 0
        self._merges_system = False
        self._chat: tuple[object, Chat] | None = None
        self.prefix_sharing_unsupported_reason: str | None = None
        self.padding_leaks = False

    def train(self, mode: bool = True) -> Policy:
        """Set the mode of the adapter; the base stays in eval mode, because it is frozen.

        So dropout, layer drop and router noise of the base are never active, whatever its config says. The policy in
        train mode differs from the policy in eval mode only by the adapter's own dropout.

        Args:
            mode: True for train mode, false for eval mode.
        """
        from peft.tuners.tuners_utils import BaseTunerLayer

        super().train(False)
        self.training = mode
        for layer in self.model.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.training = mode
                for name, child in layer.named_children():
                    if name != "base_layer":
                        child.train(mode)
        return self

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    @property
    def decoder(self) -> Any:
        """Causal LM without its head."""
        lm: Any = self.model.get_base_model()
        return lm.get_decoder()

    def head(self, hidden: Tensor) -> Tensor:
        """Logits from last hidden states, scaled and capped as in the causal LM.

        Args:
            hidden: Last hidden states, ``(tokens, hidden)``.

        Returns:
            Logits, ``(tokens, vocabulary)``.
        """
        lm: Any = self.model.get_base_model()
        return finished_logits(lm.get_output_embeddings()(hidden), lm.config.get_text_config())

    def logprobs(self, hidden: Tensor, ids: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs of tokens, and the entropy of the distributions that predict them.

        Args:
            hidden: Last hidden states that predict the tokens, ``(tokens, hidden)``.
            ids: Token ids, ``(tokens,)`` int64.
            temperatures: Divisor of the logits per token, ``(tokens,)`` float32.

        Returns:
            Log-probs and entropy, each ``(tokens,)`` float32 in nats; the entropy without gradient.
        """
        lm: Any = self.model.get_base_model()
        config = lm.config.get_text_config()
        linear, rows, first = rows_of(lm.get_output_embeddings())
        plain = type(linear) is nn.Linear and not any(p.requires_grad for p in linear.parameters())
        scaled = any(hasattr(config, name) for name in ("logit_scale", "logits_scaling", "lm_head_multiplier"))
        if plain and not scaled and getattr(config, "final_logit_softcapping", None) is None:
            return linear_logprobs(hidden, linear.weight, linear.bias, ids, temperatures, rows, first)
        return head_logprobs(self.head, config.vocab_size, hidden, ids, temperatures)

    @contextlib.contextmanager
    def acting_as(self, role: Role) -> Iterator[None]:
        """Run the model as the policy, its reference, or the bare base; restored on exit, also after an exception.

        Only the active adapters change, including modules that are trained as a whole (``modules_to_save``).
        ``requires_grad`` stays the same: PEFT's own ``set_adapter`` would freeze the trained adapter, so that it learns
        nothing although the curves look healthy.

        Args:
            role: Weights to use: ``policy``, ``reference`` or ``base``. Without a ``reference`` adapter, the reference
                is the base.
        """
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        bare = role == "base" or (role == "reference" and "reference" not in self.model.peft_config)
        switched = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        layers: list[Any] = [m for m in self.model.modules() if isinstance(m, switched)]
        before = [(layer._disable_adapters, layer._active_adapter) for layer in layers]
        try:
            for layer in layers:
                layer._disable_adapters = bare
                layer._active_adapter = ["default" if bare or role == "policy" else "reference"]
            yield
        finally:
            for layer, (disabled, active) in zip(layers, before, strict=True):
                layer._disable_adapters, layer._active_adapter = disabled, active

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Switch off gradients and dropout; modes are restored on exit, also after an exception."""
        was_training = {module: module.training for module in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, training in was_training.items():
                module.training = training

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
        encode = self._encoder([prompt])
        ids = encode(prompt)
        if len(ids) <= max_tokens:
            return ids
        self.truncated_prompts += 1
        if fitting := shorten(self.chat, prompt, encode, max_tokens):
            return fitting
        needs = "the chat template itself needs" if isinstance(prompt, str) else "the template and the system turn need"
        raise ValueError(f"model.init_args.max_prompt_tokens: {max_tokens} is less than {needs}; raise it")

    def encode_prompts(self, prompts: Sequence[Prompt], max_tokens: int) -> tuple[list[list[int]], list[bool]]:
        """Token ids of many prompts at once, as ``encode_prompt`` returns them; ``truncated_prompts`` does not change.

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
        encode = self._encoder(prompts)
        encoded = text.encode_prompts(self.chat, prompts, encode)
        cut = [len(ids) > max_tokens for ids in encoded]
        for place in (place for place, is_cut in enumerate(cut) if is_cut):
            fitting = shorten(self.chat, prompts[place], encode, max_tokens)
            if not fitting and isinstance(prompts[place], str):
                raise ValueError(
                    f"model.init_args.max_prompt_tokens: {max_tokens} is less than the chat template itself needs; "
                    "raise it"
                )
            encoded[place] = fitting or []
        return encoded, cut

    def _encoder(self, prompts: Sequence[Prompt]) -> Callable[[Prompt], list[int]]:
        """Function that encodes one of these prompts, also shortened, after a check that all can be rendered.

        Raises:
            CannotRender: If the chat template does not render a turn.
        """
        encode = self.chat.encode
        talks = {place: prompt for place, prompt in enumerate(prompts) if not isinstance(prompt, str)}
        if not talks:
            return encode
        faults = text.refused_roles(self.chat)
        for place, turns in talks.items():
            try:
                adapt(turns, faults)
            except CannotRender as error:
                raise CannotRender(str(error), place) from None
        if "system" in faults and not self._merges_system and any(t[0].role == "system" for t in talks.values()):
            self._merges_system = True
            log.warning(
                "the chat template has no system turn (%s): system texts go before the first user message",
                faults["system"],
            )
        return lambda prompt: encode(adapt(prompt, faults))

    def encode_completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many reference completions at once, as ``encode_completion`` returns them.

        Args:
            texts: Reference completions.

        Returns:
            Token ids, one list per completion.
        """
        return [[*ids, self.eos_ids[0]] for ids in self.chat.encode_answers(texts)]

    def text_signature(self) -> str:
        """Hash of all that the token ids of a text depend on: tokenizer, chat template, code, end-of-turn token."""
        return f"{text.signature(self.tokenizer)}/{self.eos_ids[0]}"

    def encode_completion(self, completion: str) -> list[int]:
        """Token ids of a reference completion, as the chat template writes an answer, including its end token.

        Args:
            completion: Reference completion; control tokens in it stay plain text.

        Returns:
            Token ids; the last one is ``eos_ids[0]``. Appended to those of ``encode_prompt``, they give the sequence
            that generation would give, so the prompt's tokens are a true prefix.
        """
        return self.encode_completions([completion])[0]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of completions, without special tokens, end token, and text that the chat template adds.

        Args:
            ids: Token ids, one list per completion.

        Returns:
            Texts, one per completion. An incomplete byte sequence becomes U+FFFD, which no language rule accepts.
        """
        ended = [bool(row) and row[-1] in self.eos_ids for row in ids]
        rows = [row[:-1] if end else row for row, end in zip(ids, ended, strict=True)]  # it need not be a special token
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        before, after = self.chat.shown
        texts = [text.removeprefix(before) for text in texts]
        return [text.removesuffix(after) if end else text for text, end in zip(texts, ended, strict=True)]


def finished_logits(logits: Tensor, config: Any) -> Tensor:
    """Scale and cap logits as the causal LM does: Granite, Cohere and Falcon-H1 scale them, Gemma 2 caps them.

    Args:
        logits: Logits of the linear head, of any shape.
        config: Text config of the model.

    Returns:
        Logits of the same shape.
    """
    # MPT's config has a logit_scale of None.
    logits = logits * (getattr(config, "logit_scale", None) or 1.0) / getattr(config, "logits_scaling", 1.0)
    logits = logits * getattr(config, "lm_head_multiplier", 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap

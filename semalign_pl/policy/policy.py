"""The policy: an adapted causal LM, its tokenizer, and the three models it can act as."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from semalign_pl.functional.head import head_logprobs, linear_logprobs
from semalign_pl.policy import text
from semalign_pl.policy.chat import Chat
from semalign_pl.policy.template import find_chat
from semalign_pl.policy.token_rows import rows_of
from semalign_pl.policy.turns import adapt, shorten
from semalign_pl.types import CannotRender, Prompt

if TYPE_CHECKING:
    from peft import PeftModel

log = logging.getLogger(__name__)
Role = Literal["policy", "reference", "base"]


class Policy(nn.Module):
    """A PEFT causal LM with its tokenizer.

    Args:
        model: PEFT model whose trainable adapter is named ``default``; a frozen ``reference`` adapter may stand
            beside it.
        tokenizer: The base model's.
        eos_ids: Token ids that end a completion; the first one is appended to training completions: what the chat
            template writes after an answer, or else the tokenizer's ``eos_token``.

    Attributes:
        prefix_sharing_unsupported_reason: Reason why completions cannot share their prompt's forward in this
            architecture; ``None`` if they can.
        padding_leaks: Padding in front of a prompt changes what follows it, as in recurrent layers: only prompts of
            equal length are then prefilled together.
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
        """Set the mode of the adapter; the base stays in eval mode, as it is frozen.

        No dropout, layer drop or router noise of the base is ever active, in any role: whatever its config says, the
        policy in train mode differs from the policy in eval mode by the adapter's own dropout only.

        Args:
            mode: Train mode, else eval mode.
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
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def decoder(self) -> Any:
        """The causal LM without its head."""
        lm: Any = self.model.get_base_model()
        return lm.get_decoder()

    def head(self, hidden: Tensor) -> Tensor:
        """Logits from last hidden states, as the causal LM makes them.

        Args:
            hidden: ``(tokens, hidden)``.

        Returns:
            ``(tokens, vocabulary)``.
        """
        lm: Any = self.model.get_base_model()
        return finished_logits(lm.get_output_embeddings()(hidden), lm.config.get_text_config())

    def logprobs(self, hidden: Tensor, ids: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of tokens under the states that predict them, and the entropy there.

        Args:
            hidden: ``(tokens, hidden)``.
            ids: ``(tokens,)`` int64.
            temperatures: ``(tokens,)`` float32; each divides its token's logits.

        Returns:
            Each ``(tokens,)`` float32 in nats; the entropy without gradient.
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
        """Forward as the policy, as the reference it started from, or as the bare base.

        Only the adapters in use change, modules that were trained as a whole (``modules_to_save``) included.
        ``requires_grad`` does not (PEFT's own ``set_adapter`` would freeze the trained adapter: healthy curves,
        nothing learned), and everything is as before afterwards, also after an exception.

        Args:
            role: Whose weights to use. Without a ``reference`` adapter the reference is the base.
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
        """No gradient and no dropout inside; modes as before afterwards, also after an exception."""
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
        """Layout of the tokenizer's chat template, found once per template and vocabulary."""
        key = (self.tokenizer.chat_template, len(self.tokenizer))
        if self._chat is None or self._chat[0] != key:
            self._chat = key, find_chat(self.tokenizer)
        return self._chat[1]

    def encode_prompt(self, prompt: Prompt, max_tokens: int) -> list[int]:
        """A prompt as token ids, up to where the assistant's answer begins.

        Chat models' own template is used, with thinking off where it has the switch (Qwen3). Only the template writes
        control tokens: a literal ``<|im_end|>`` in a message stays plain text. Of a conversation that is too long the
        oldest exchanges are left out, the system turn stays. What is still too long is cut at the end of the last
        *message*, never inside the template. Both are counted in ``truncated_prompts``.

        Args:
            prompt: The user's message, or all turns of a conversation.
            max_tokens: Upper bound for the encoded length.

        Returns:
            Token ids.

        Raises:
            CannotRender: If the chat template has no place for one of the turns, or refuses their text.
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
        """As ``encode_prompt`` of each, in one go; those that were cut are told, not counted.

        Args:
            prompts: User's messages, or turns of conversations.
            max_tokens: Upper bound for each encoded length.

        Returns:
            Token ids of each, none for a conversation that cannot be cut to fit; and whether it was cut.

        Raises:
            CannotRender: If the chat template has no place for a turn, or refuses its text; knows the prompt's place.
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
        """Function from one of these prompts, or a shortened one, to token ids; all of them can be rendered.

        Raises:
            CannotRender: If the chat template has no place for a turn.
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
        """As ``encode_completion`` of each, in one go.

        Args:
            texts: The wanted completions.
        """
        return [[*ids, self.eos_ids[0]] for ids in self.chat.encode_answers(texts)]

    def text_signature(self) -> str:
        """A hash of all that text's token ids depend on: the tokenizer, its template, the token that ends a turn."""
        return f"{text.signature(self.tokenizer)}/{self.eos_ids[0]}"

    def encode_completion(self, completion: str) -> list[int]:
        """A reference as the policy should produce it: as the chat template writes an answer, up to its end token.

        Args:
            completion: The wanted completion; control tokens in it stay plain text.

        Returns:
            Token ids, the last of which is ``eos_ids[0]``. Joined behind ``encode_prompt`` they make the sequence
            that generation would have made, so prompt tokens are a true prefix.
        """
        return self.encode_completions([completion])[0]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Completions as text: without special tokens, the end token and what the chat template writes around answers.

        Args:
            ids: One list of token ids per completion.

        Returns:
            One string each; an incomplete byte sequence shows as U+FFFD, which no language profile accepts.
        """
        ended = [bool(row) and row[-1] in self.eos_ids for row in ids]
        rows = [row[:-1] if end else row for row, end in zip(ids, ended, strict=True)]  # it need not be a special token
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        before, after = self.chat.shown
        texts = [text.removeprefix(before) for text in texts]
        return [text.removesuffix(after) if end else text for text, end in zip(texts, ended, strict=True)]


def finished_logits(logits: Tensor, config: Any) -> Tensor:
    """Scale and cap logits as a causal LM does: Granite, Cohere and Falcon-H1 scale them, Gemma 2 caps them.

    Args:
        logits: Any shape, as the linear head gave them.
        config: The text model's.

    Returns:
        The same shape.
    """
    # MPT's config holds a logit_scale of None.
    logits = logits * (getattr(config, "logit_scale", None) or 1.0) / getattr(config, "logits_scaling", 1.0)
    logits = logits * getattr(config, "lm_head_multiplier", 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def policy_of(pl_module: Any) -> Policy:
    """The policy of the module that a hook is given, so that callbacks need not know the modules.

    Args:
        pl_module: The hook's ``pl_module``.
    """
    policy = pl_module.policy
    assert isinstance(policy, Policy)
    return policy

"""Policy: a causal LM with adapters and its prompt encoder, which can act as policy, reference or base."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.engine.head import head_logprobs, linear_logprobs
from semalign_pl.engine.head_divergence import head_divergence, linear_divergence
from semalign_pl.engine.model import Role
from semalign_pl.functional.divergence import FullDivergence
from semalign_pl.policy.token_rows import rows_of

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel


class Policy(nn.Module):
    """PEFT causal LM with its prompt encoder.

    Args:
        model: PEFT model whose trainable adapter is named ``default``; it may also have a frozen adapter named
            ``reference``.
        encoder: Tokenizer and chat template of the base model.

    Attributes:
        eos_ids: Token ids at which generation stops: those of the encoder.
        pad_id: Token id for padding: that of the encoder.
        prefix_sharing_unsupported_reason: Reason why completions cannot share their prompt's forward in this
            architecture; ``None`` if they can.
        graph_unsupported_reason: Reason why no CUDA graph can hold a decoding step; ``None`` until one fails.
        half_frozen: True if the second half of each LoRA factor is frozen, as in a new CorDA adapter.
        padding_leaks: True if padding on the left changes the states of a prompt, as in recurrent layers; only prompts
            of equal length are then prefilled together.
    """

    def __init__(self, model: PeftModel, encoder: PromptEncoder) -> None:
        super().__init__()
        self.model, self.encoder = model, encoder
        self.eos_ids, self.pad_id = encoder.eos_ids, encoder.pad_id
        self.prefix_sharing_unsupported_reason: str | None = None
        self.graph_unsupported_reason: str | None = None
        self.padding_leaks = self.half_frozen = False

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
    def causal_lm(self) -> PreTrainedModel:
        """Causal LM of transformers, whose layers PEFT has replaced by adapted ones."""
        from transformers import PreTrainedModel

        lm = self.model.get_base_model()
        assert isinstance(lm, PreTrainedModel)
        return lm

    @property
    def decoder(self) -> PreTrainedModel:
        """Causal LM without its head."""
        return self.causal_lm.get_decoder()

    def head(self, hidden: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens vocabulary"]:
        """Logits from last hidden states, scaled and capped as in the causal LM.

        Args:
            hidden: Last hidden states.
        """
        return scale_and_softcap_logits(self._head(hidden), self.causal_lm.config.get_text_config())

    @property
    def _head(self) -> nn.Module:
        head = self.causal_lm.get_output_embeddings()
        assert head is not None, "a causal LM has a head"
        return head

    def logprobs(
        self,
        hidden: Float[Tensor, "tokens hidden"],
        ids: Int[Tensor, " tokens"],
        temperatures: Float[Tensor, " tokens"],
    ) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
        """Log-probs of tokens, and the entropy of the distributions that predict them.

        Args:
            hidden: Last hidden states that predict the tokens.
            ids: Token ids.
            temperatures: Temperature per token, float32; divides the logits.

        Returns:
            Log-probs (with gradient) and entropy (without), float32 in nats.
        """
        linear, rows, first = rows_of(self._head)
        if self._is_linear(linear):
            return linear_logprobs(hidden, linear.weight, linear.bias, ids, temperatures, rows, first)
        return head_logprobs(self.head, self._vocabulary, hidden, ids, temperatures)

    def divergence(
        self,
        kind: FullDivergence,
        role: Role,
        hidden: Float[Tensor, "tokens hidden"],
        target: Float[Tensor, "tokens hidden"],
        temperatures: Float[Tensor, " tokens"],
    ) -> Float[Tensor, " tokens"]:
        """Divergence of the policy's distributions from those of a target.

        Args:
            kind: Divergence to compute.
            role: Weights that the target's states were computed with; their head gives its logits.
            hidden: Last hidden states of the policy.
            target: Last hidden states of the target, without gradient.
            temperatures: Temperature per token, float32; divides the logits of both.

        Returns:
            Divergence per token (with gradient), float32 in nats.
        """
        linear, rows, _ = rows_of(self._head)
        if rows is None and self._is_linear(linear):
            return linear_divergence(kind, hidden, target, linear.weight, linear.bias, temperatures)

        def target_head(states: Tensor) -> Tensor:
            with self.acting_as(role):
                return self.head(states)

        return head_divergence(kind, self.head, target_head, self._vocabulary, hidden, target, temperatures)

    def _is_linear(self, head: nn.Module) -> bool:
        """True if logits are the product with a frozen matrix, neither scaled nor capped."""
        config = self.causal_lm.config.get_text_config()
        plain = type(head) is nn.Linear and not any(p.requires_grad for p in head.parameters())
        scaled = any(hasattr(config, name) for name in ("logit_scale", "logits_scaling", "lm_head_multiplier"))
        return plain and not scaled and getattr(config, "final_logit_softcapping", None) is None

    @property
    def _vocabulary(self) -> int:
        return self.causal_lm.config.get_text_config().vocab_size

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
        layers = [m for m in self.model.modules() if isinstance(m, switched)]
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


def scale_and_softcap_logits(logits: Tensor, config: PreTrainedConfig) -> Tensor:
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

"""Reward by a cross-encoder, a model that scores two texts together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.policy.causal_lm import LOAD_ERRORS, check_folder, load_reason
from semalign_pl.rewards.pair_reward import PairReward

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class CrossEncoderReward(PairReward["CrossEncoder"]):
    """Sigmoid of a sentence-transformers CrossEncoder's score of anchor and completion, in [0, 1].

    The sigmoid is applied to the logit. The activation that the model names for ranking, often none, is not used.

    Args:
        encoder: CrossEncoder with one label: hub id or folder.
        anchor: Text that a completion is compared with: a column of the corpus such as `zh`, or `reference`.
        weight: Factor in the total reward.
    """

    def __init__(self, encoder: str, anchor: str = "zh", weight: float = 1.0) -> None:
        super().__init__(anchor, weight)
        self.encoder = encoder

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        return f"{super().signature}|encoder:{self.encoder}|anchor:{self.anchor}|activation:sigmoid"

    def load(self, device: torch.device) -> CrossEncoder:
        """Load the cross-encoder.

        Args:
            device: Device of the model.

        Raises:
            ValueError: If the model cannot be loaded, is not a cross-encoder, or has several labels.
        """
        from sentence_transformers import CrossEncoder
        from transformers import AutoConfig

        check_folder("CrossEncoderReward.encoder", self.encoder)
        try:
            # Checked first: CrossEncoder would give any other model a random head, whose scores mean nothing.
            kinds = AutoConfig.from_pretrained(self.encoder, trust_remote_code=False).architectures or ["nothing known"]
            if not kinds[0].endswith("ForSequenceClassification"):
                raise ValueError(f"it is no cross-encoder but {kinds[0]}.")
            model = CrossEncoder(self.encoder, device=str(device), trust_remote_code=False)
        except LOAD_ERRORS as error:
            raise ValueError(
                f"CrossEncoderReward.encoder: cannot load {self.encoder!r}: {load_reason(error)} Give "
                "a folder written by CrossEncoder.save, or a hub id that this machine can reach; a causal LM that "
                "answers yes or no is for RerankerReward."
            ) from error
        if model.num_labels != 1:
            raise ValueError(
                f"CrossEncoderReward.encoder: {self.encoder!r} gives {model.num_labels} labels, of which none is the "
                "score; take one of a single label"
            )
        tokenizer = model.tokenizer
        # The tokenizer must not truncate: PairReward cuts the anchor, and never the completion.
        self._reads, tokenizer.model_max_length = tokenizer.model_max_length, 2**31
        if tokenizer.chat_template is None:  # a chat template writes its special tokens as text
            tokenizer.split_special_tokens = True  # a separator that is spelled out in a completion stays text
        return model.requires_grad_(False).eval()

    def room(self) -> int:
        """Maximum number of tokens that the cross-encoder reads."""
        return self._reads

    def tokens(self, anchor: str, completion: str) -> int:
        """Number of tokens of both texts, with the special tokens around them."""
        return self.loaded.preprocess([(anchor, completion)])["input_ids"].shape[1]

    def probabilities(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Sigmoid of the model's logits, ``(pairs,)`` float32."""
        logits = self.loaded.predict(
            pairs, activation_fn=nn.Identity(), convert_to_tensor=True, show_progress_bar=False
        )
        return logits.float().sigmoid()

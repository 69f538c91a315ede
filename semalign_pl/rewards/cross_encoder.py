"""Do the two texts belong together? The score of a cross-encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.policy.causal_lm import LOAD_ERRORS, check_folder, load_reason
from semalign_pl.rewards.pair import PairReward

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class CrossEncoderReward(PairReward):
    """The sigmoid of a sentence-transformers CrossEncoder's score of anchor and completion, in [0, 1].

    The sigmoid is taken of the logit, whatever activation the model names for ranking (often none).

    Args:
        encoder: CrossEncoder of one label: hub id or folder.
        anchor: What a completion is compared with: a column of the corpus such as `zh`, or `reference`.
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

        Raises:
            ValueError: If it cannot be loaded, is another kind of model, or gives several labels.
        """
        from sentence_transformers import CrossEncoder
        from transformers import AutoConfig

        check_folder("CrossEncoderReward.encoder", self.encoder)
        try:
            # Asked first, because CrossEncoder would put a random head on any other model: numbers without meaning.
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
        self._reads, tokenizer.model_max_length = tokenizer.model_max_length, 2**31  # cutting is ours, of anchors alone
        if tokenizer.chat_template is None:  # which writes special tokens as text
            tokenizer.split_special_tokens = True  # a completion that spells a separator has written no separator
        return model.requires_grad_(False).eval()

    def room(self) -> int:
        """Tokens that the cross-encoder reads."""
        return self._reads

    def tokens(self, anchor: str, completion: str) -> int:
        """Tokens of both texts and what stands around them."""
        return self.model.preprocess([(anchor, completion)])["input_ids"].shape[1]

    def probabilities(self, pairs: list[tuple[str, str]]) -> Tensor:
        """The sigmoid of the model's logits."""
        logits = self.model.predict(pairs, activation_fn=nn.Identity(), convert_to_tensor=True, show_progress_bar=False)
        return logits.float().sigmoid()

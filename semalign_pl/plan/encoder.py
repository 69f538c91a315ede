"""Predict the peak memory of training a sentence encoder, without its weights."""

from __future__ import annotations

from functools import lru_cache

import torch

from semalign_pl.plan.meta_policy import read_config
from semalign_pl.plan.tracker import PeakBytes
from semalign_pl.plan.without_data import without_data


@lru_cache
def embedder_peak(name: str, texts: int, tokens: int) -> int:
    """Predict the peak memory of a step of ``EmbedderModule`` with AdamW.

    Activations are counted in float32, an upper bound: mixed precision keeps many of them in 16 bits. The largest of
    them and of AdamW's temporary copy of the weights counts. Weights, gradients and Adam's two moments are in memory
    throughout.

    Args:
        name: Hub id or folder of the encoder.
        texts: Number of texts that are embedded at once.
        tokens: Number of tokens per text.

    Returns:
        Bytes; without activations if the architecture cannot embed token ids without its weights.
    """
    from transformers import AutoModel

    config = read_config("EmbedderModule.base", name)
    with torch.device("meta"):
        model = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False).train()
        ids = torch.ones(texts, tokens, dtype=torch.long)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    memory = PeakBytes()
    memory.register([*parameters, *model.buffers(), *(p.grad for p in parameters if p.grad is not None)])
    try:
        with memory, without_data():
            model(input_ids=ids).last_hidden_state.mean(1).sum().backward()
    except Exception:  # an unknown architecture may need other inputs, or data
        memory.peak = 0
    weights = sum(parameter.nbytes for parameter in parameters)
    return 4 * weights + max(weights, memory.peak)

"""SFT's loss on references, with weights of tokens; SFT trains on it alone, GRPO beside its own objective."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.engine.logprobs import compute_logprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.functional.token_weights import TokenWeight
from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.loss_terms import NLLTerm
from semalign_pl.modules.sources import Sources

LOWEST_TEMPERATURE = 1e-4
"""Lowest temperature of TALR, for a policy that is certain of half of the completions."""


def reference_term(
    module: AlignModule,
    completions: Completions,
    tokens: float,
    token_weight: TokenWeight,
    weight: float = 1.0,
    sources: Sources | None = None,
) -> NLLTerm:
    """Term of a step's loss: NLL of the references per token.

    Args:
        module: Module that is trained.
        completions: References of this rank, with their prompts.
        tokens: Number of their tokens, on all ranks.
        token_weight: Weight of each token.
        weight: Factor on the term.
        sources: Corpora of the completions, if their losses are logged apart.
    """
    temperature = 1.0
    if token_weight == "talr":
        ranks = module.trainer.world_size
        temperature = talr_temperature(module.policy, completions, module.micro_batch_tokens, ranks)
    return NLLTerm(
        name="reference_nll", completions=completions, denominator=tokens, weight=weight, token_weight=token_weight,
        talr_temperature=temperature, sources=sources,
    )  # fmt: skip


def talr_temperature(policy: CausalPolicy, completions: Completions, budget: int, ranks: int) -> float:
    """Median over the step's completions, on all ranks, of a completion's mean NLL per token (TALR, arXiv 2509.20758).

    The median needs all completions, so they are forwarded once more, without gradient: a median per micro-batch would
    make the gradient depend on how the step is split.

    Args:
        policy: Policy under training.
        completions: Completions of this rank.
        budget: Maximum number of tokens per forward.
        ranks: Number of ranks.

    Returns:
        Temperature in nats, at least 0.0001; 1 if there are no completions.
    """
    lengths = torch.tensor([len(ids) for ids in completions.completions], device=policy.device)
    means = -compute_logprobs(policy, completions, budget).sum(1) / lengths
    of_ranks: list[Tensor] = [means[lengths > 0].double().cpu()]
    if ranks > 1:
        of_ranks = [torch.empty(0)] * ranks
        torch.distributed.all_gather_object(of_ranks, means[lengths > 0].double().cpu())
    of_step = torch.cat(of_ranks)
    return max(LOWEST_TEMPERATURE, float(of_step.quantile(0.5))) if len(of_step) else 1.0


def check_token_weight(token_weight: TokenWeight, name: str) -> None:
    """Refuse ``asft``, which is no weight alone.

    Args:
        token_weight: Weight of the tokens.
        name: Name of the setting.

    Raises:
        ValueError: Says what to write instead.
    """
    if token_weight == "asft":
        remedy = "write token_weight: dft, beta: 0.05, kl: forward_kl, reference: base"
        if name != "token_weight":
            remedy = f"write {name}: dft, and beta for a KL to the start; ASFT itself is for SFTModule"
        raise ValueError(f"model.init_args.{name}: asft is dft with a KL to the base (arXiv 2509.23753); {remedy}")

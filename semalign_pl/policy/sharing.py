"""Can this architecture run through layouts? Asked of the model itself, once, when it is loaded."""

from __future__ import annotations

from typing import Any

import torch

from semalign_pl.policy.layout import Continuations, Sequences, decode
from semalign_pl.policy.policy import Policy

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Relative difference of logits that rounding explains; a wrong token in sight makes it about 1."""


def check_finite(policy: Policy, base: str, weights: str, adapter: str | None) -> None:
    """Refuse a model whose logits are not finite; everything computed from them would be NaN.

    Args:
        policy: The policy.
        base: Its base, for the message.
        weights: Its precision, for the message.
        adapter: Its adapter, for the message.

    Raises:
        ValueError: Naming base or adapter, and the remedy.
    """
    ids = torch.tensor([_probe_tokens(policy)], device=policy.device)
    for role in ("base", "policy"):
        with policy.inference(), policy.acting_as(role):
            if torch.isfinite(policy.model(input_ids=ids, use_cache=False).logits).all():
                continue
        if role == "policy":
            raise ValueError(
                f"model.init_args.adapter: {adapter} gives NaN or infinite logits on {base}, which alone does not; "
                "give an earlier adapter"
            )
        lm: Any = policy.model.get_base_model()
        bad = (n for n, p in lm.named_parameters() if p.is_floating_point() and not torch.isfinite(p).all())
        remedy = "try `weights: fp32`" if weights != "fp32" else "it is damaged, so download it again"
        if (name := next(bad, None)) is not None:
            remedy = f"its weight {name} is not finite, so download it again"
        raise ValueError(
            f"model.init_args.base: {base} gives NaN or infinite logits with `weights: {weights}`; {remedy}"
        )


def _probe_tokens(policy: Policy) -> list[int]:
    lm: Any = policy.model.get_base_model()
    return [(7 * i + 3) % lm.config.get_text_config().vocab_size for i in range(9)]


def why_not_shared(policy: Policy) -> str | None:
    """Compare a shared forward with transformers' own on a dozen tokens.

    Args:
        policy: The policy.

    Returns:
        ``None`` if both agree; else the reason, for the log.
    """
    lm: Any = policy.model.get_base_model()
    config = lm.config.get_text_config()
    odd = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if odd:
        return f"it has layers of type {', '.join(sorted(odd))}"
    if not getattr(policy.decoder, "_supports_attention_backend", False):
        return "transformers has no replaceable attention for it"
    tokens = _probe_tokens(policy)
    prompts, rows = [tokens[:4], tokens[2:5]], [[tokens[4:7], tokens[6:8]], [tokens[5:9]]]
    try:
        with policy.inference():
            layout = Sequences(prompts, policy.device, keep=True)
            decode(policy, layout)
            assert layout.prefix is not None
            shared = policy.head(decode(policy, Continuations(layout.prefix, [4, 3], rows))).float()
            whole = [
                policy.model(input_ids=torch.tensor([prompt + row], device=policy.device)).logits[0, len(prompt) :]
                for prompt, group in zip(prompts, rows, strict=True)
                for row in group
            ]
    except Exception as error:  # whatever an unknown architecture raises, it is the reason
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    expected = torch.cat(whole).float()
    difference = ((shared - expected).norm() / expected.norm()).item()
    allowed = TOLERANCE.get(lm.dtype, 1e-3)
    return None if difference <= allowed else f"its logits would differ by {difference:.1%}"

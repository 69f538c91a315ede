"""Check of an architecture when it is loaded: run it with shared prompts or its own forward, or refuse it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.fallback import UnsharedDecodeState, unshared_hidden
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.packed_batch import PackedCompletions, PackedSequences, decode
from semalign_pl.messages.error_text import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Relative difference of logits that rounding explains, by dtype; wrong positions give 1e-2 in random models."""


def check_logits(policy: CausalPolicy, base: str, weights: str, adapter: str | None) -> None:
    """Refuse a model that cannot run, or whose logits are not finite: everything computed from them would be NaN.

    Args:
        policy: Policy to check.
        base: Hub id or folder of the base, for the message.
        weights: Quantisation or precision of the base, for the message.
        adapter: PEFT folder, for the message.

    Raises:
        ValueError: Names base or adapter, and the remedy.
    """
    ids = torch.tensor([_probe_tokens(policy)], device=policy.device)
    for role in ("base", "policy"):
        with policy.inference(), policy.acting_as(role):
            try:
                if torch.isfinite(policy.model(input_ids=ids, use_cache=False).logits).all():
                    continue
            except torch.OutOfMemoryError:
                raise  # says nothing about the model
            except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"model.init_args.{'base' if role == 'base' else 'lora'}: {base} cannot run {ids.shape[1]} tokens "
                    f"as {role} ({_reason(error)}); take another base, or `target_modules` without its routers"
                ) from error
        if role == "policy":
            raise ValueError(
                f"model.init_args.adapter: {adapter} gives NaN or infinite logits on {base}, which alone does not; "
                "give an earlier adapter"
            )
        lm = policy.causal_lm
        bad = (n for n, p in lm.named_parameters() if p.is_floating_point() and not torch.isfinite(p).all())
        remedy = "try `weights: fp32`" if weights != "fp32" else "it is damaged, so download it again"
        if (name := next(bad, None)) is not None:
            remedy = f"its weight {name} is not finite, so download it again"
        raise ValueError(
            f"model.init_args.base: {base} gives NaN or infinite logits with `weights: {weights}`; {remedy}"
        )


def _probe_tokens(policy: CausalPolicy) -> list[int]:
    vocabulary = policy.causal_lm.config.get_text_config().vocab_size
    return [(7 * i + 3) % vocabulary for i in range(9)]


def choose_forward(policy: CausalPolicy, base: str) -> None:
    """Choose shared prompts if they are exact for this architecture, else transformers' own forward if it is exact.

    Each is tried on a dozen tokens in rows of unequal length, and compared with one plain forward per row. Sets
    ``policy.prefix_sharing_unsupported_reason`` and ``policy.padding_leaks``.

    Args:
        policy: Policy to check.
        base: Hub id or folder of the base, for the message.

    Raises:
        ValueError: If no way of running this architecture gives its own logits.
    """
    lm = policy.causal_lm
    allowed = TOLERANCE.get(lm.dtype, 1e-4)
    with policy.inference():
        expected = _plain_logits(policy)
        policy.prefix_sharing_unsupported_reason = _unfit(policy) or _try(shared_logits, policy, expected, allowed)
        if policy.prefix_sharing_unsupported_reason is None:
            return
        if not _recurrent(policy) and _try(_padded_rollout, policy, expected, allowed) is None:
            ways = [_unshared_logits]
        else:
            policy.padding_leaks, ways = True, [_unshared_logits, _equal_rollout]
        # In half precision, rounding may also break a near tie of a router and send a token to another expert.
        reason = next(filter(None, (_try(way, policy, expected, 4 * allowed) for way in ways)), None)
    if reason is not None:
        raise ValueError(
            f"model.init_args.base: {base} ({lm.config.model_type}) cannot be run exactly: {reason}; take a base of a "
            "family that docs/architectures.md lists as exact"
        )


def packing_unsupported_reason(policy: CausalPolicy) -> str | None:
    """Reason why packed batches cannot run this architecture, as far as it is known without weights.

    Args:
        policy: Policy on the meta device.

    Returns:
        Reason, or ``None`` if there is none.
    """
    with policy.inference():
        return _unfit(policy) or _try(shared_logits, policy)


def _unfit(policy: CausalPolicy) -> str | None:
    """Reason in the config why packed batches cannot run this architecture, or ``None``."""
    config = policy.decoder.config
    odd = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    if odd:
        return f"it has layers of type {', '.join(sorted(odd))}"
    if _recurrent(policy):
        return "it has recurrent layers"
    if not getattr(policy.decoder, "_supports_attention_backend", False):
        return "transformers has no replaceable attention for it"
    return None


def _recurrent(policy: CausalPolicy) -> bool:
    """Return true if a layer carries a state from token to token, which padding on the left would change."""
    from transformers import DynamicCache

    return any(hasattr(layer, "recurrent_states") for layer in DynamicCache(config=policy.decoder.config).layers)


def _try(
    way: Callable[[CausalPolicy], Tensor], policy: CausalPolicy, expected: Tensor | None = None, allowed: float = 0.0
) -> str | None:
    """Compare logits; returns why they differ from the expected ones, or ``None``."""
    try:
        logits = way(policy).float()
    except torch.OutOfMemoryError:
        raise  # a full card must not choose the slower forward
    except Exception as error:  # an unknown architecture may raise anything
        return _reason(error)
    if expected is None:
        return None
    difference = ((logits - expected).norm() / expected.norm()).item()
    return None if difference <= allowed else f"its logits would differ by {difference:.1%}"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _probe(policy: CausalPolicy) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Token ids of two prompts, and of two completions of each; prompts differ in length, and so do completions."""
    tokens = _probe_tokens(policy)
    return [tokens[:4], tokens[2:5]], [[tokens[4:7], tokens[6:8]], [tokens[5:9], tokens[1:2]]]


def _flat_probe(policy: CausalPolicy) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the prompts and completions of the four rows."""
    prompts, groups = _probe(policy)
    return [p for p, group in zip(prompts, groups, strict=True) for _ in group], [
        row for group in groups for row in group
    ]


def _plain_logits(policy: CausalPolicy) -> Float[Tensor, "tokens vocabulary"]:
    """Logits after each prompt and each completion token, by one plain forward per row."""
    rows = [
        policy.model(input_ids=torch.tensor([prompt + row], device=policy.device), use_cache=False).logits[0]
        for prompt, row in zip(*_flat_probe(policy), strict=True)
    ]
    prompts, _ = _flat_probe(policy)
    return torch.cat([logits[len(prompt) - 1 :] for prompt, logits in zip(prompts, rows, strict=True)]).float()


def shared_logits(policy: CausalPolicy) -> Tensor:
    """Same logits as ``_plain_logits``, computed with packed batches.

    Args:
        policy: Model to use; set eval mode first. It may be on the meta device.

    Raises:
        NotImplementedError: If the attention does something that packed batches cannot do.
    """
    prompts, groups = _probe(policy)
    packed = PackedSequences(prompts, policy.device, keep=True)
    last = decode(policy, packed)[packed.last]
    assert packed.prompt_cache is not None
    completions = PackedCompletions(packed.prompt_cache, list(map(len, prompts)), groups)
    rest = decode(policy, completions)
    if completions.biases.keys() != (declared := _windows(policy.decoder.config)):
        # A window that exists only in transformers' masks would not change a dozen tokens.
        raise NotImplementedError(f"its attention has windows {list(completions.biases)}, its config {list(declared)}")
    lengths = [len(row) for group in groups for row in group]
    firsts = [state for state, group in zip(last, groups, strict=True) for _ in group]
    hidden = [
        torch.cat([first.unsqueeze(0), states]) for first, states in zip(firsts, rest.split(lengths), strict=True)
    ]
    return policy.head(torch.cat(hidden))


def _windows(config: PreTrainedConfig) -> set[int | None]:
    """Sliding windows of a decoder's layers, as declared in its config; ``None`` for full attention."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    return {window if kinds is None or kind == "sliding_attention" else None for kind in kinds or [None]}


def _padded_rollout(policy: CausalPolicy) -> Tensor:
    """Same logits as ``_plain_logits``, computed with transformers' cache, prompts padded to equal length."""
    return _rollout(policy, *_probe(policy))


def _equal_rollout(policy: CausalPolicy) -> Tensor:
    """Same logits as ``_plain_logits``, computed with transformers' cache, one prompt at a time."""
    prompts, groups = _probe(policy)
    return torch.cat([_rollout(policy, [p], [group]) for p, group in zip(prompts, groups, strict=True)])


def _rollout(policy: CausalPolicy, prompts: list[list[int]], groups: list[list[list[int]]]) -> Tensor:
    """Logits from decoding given completions; a finished completion leaves the batch."""
    rows = [row for group in groups for row in group]
    decoding = UnsharedDecodeState(policy, prompts, len(groups[0]))
    logits = [[first] for first in decoding.prefill()]
    alive = list(range(len(rows)))
    for place in range(max(map(len, rows))):
        kept = [index for index, row in enumerate(alive) if place < len(rows[row])]
        alive = [alive[index] for index in kept]
        decoding.keep(kept)
        chosen = torch.tensor([rows[row][place] for row in alive], device=policy.device)
        for row, new in zip(alive, decoding.step(chosen), strict=True):
            logits[row].append(new)
    return torch.cat([torch.stack(row) for row in logits])


def _unshared_logits(policy: CausalPolicy) -> Tensor:
    """Same logits as ``_plain_logits``, computed as log-probs are without shared prompts: rows padded on the right."""
    prompts, rows = _flat_probe(policy)
    return policy.head(unshared_hidden(policy, prompts, [[*row, policy.pad_id] for row in rows]))

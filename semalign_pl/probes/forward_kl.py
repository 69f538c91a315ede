"""Forward KL of the policy on the task's own prompts, which predicts how much general ability a training has cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from semalign_pl.data.examples import Examples
from semalign_pl.engine.fallback import unshared_hidden
from semalign_pl.engine.generate import generate
from semalign_pl.files.text_lines import read_text_lines
from semalign_pl.functional.drift import OVER_TOKENS, kl_from_logits, token_sums
from semalign_pl.functional.formulas import score_items
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe
from semalign_pl.probes.generation_rows import draw
from semalign_pl.protocols import ExampleData
from semalign_pl.run.trainer import data_module_of
from semalign_pl.types import Example, Item, Measurement, Prompt

_ROWS = 16
"""Number of completions forwarded at once; bounds memory and changes nothing else."""


@dataclass(frozen=True)
class _Source:
    """Prompt to measure on.

    Attributes:
        id: Source of the prompt, such as ``test.jsonl:17``.
        prompt: Prompt for the policy.
        ids: Token ids of the prompt, if the data module has tokenised it.
    """

    id: str
    prompt: Prompt
    ids: Sequence[int] | None = None


class ForwardKLProbe(Probe):
    """Mean per-token KL(base || policy) on the task's own prompts, in nats; items are prompts.

    RL's Razor (arXiv 2509.04259) finds that this number predicts forgetting, whichever method trained the policy. The
    expectation is over the base's outputs on the prompts of the new task: one completion per prompt is sampled from the
    base at temperature 1. At each of its tokens the KL is computed over the full vocabulary. The base samples once per
    process, so every measurement has the same completions.

    The prompts are those of the data module: of ``test`` in a test, and of ``validation`` during training, or of
    ``train`` if there is no validation corpus. Replayed rows and raw text have no prompts of the task.

    Args:
        file: Text file in UTF-8 with one prompt per line, written like a user's message; null for the prompts of the
            data module.
        limit: Maximum number of prompts, drawn by seed; null for all.
        max_prompt_tokens: Maximum number of tokens per prompt; longer ones are cut at the end of the message, and
            counted in the signature.
        max_new_tokens: Maximum number of tokens per completion of the base.
        seed: Seed of the draw of prompts and of the sampling.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
        name: Prefix of the score's name, and name of the set of items, for a second probe; null for no prefix.
    """

    def __init__(
        self,
        file: str | None = None,
        limit: int | None = 100,
        max_prompt_tokens: int = 1024,
        max_new_tokens: int = 64,
        seed: int = 0,
        every_n_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        self.check_positive(limit=limit, max_new_tokens=max_new_tokens)
        self.file, self.limit, self.seed, self.name = file, limit, seed, name
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self._sources = [] if file is None else draw(_read_prompts(file), limit, seed)
        self._completions: dict[object, list[list[int]]] = {}

    def run(self, pl_module: LightningModule) -> Measurement:
        """Measure the policy of a module now, on the prompts of its data module unless there is a file.

        Raises:
            ValueError: If the module has no policy, or its data module has no prompts.
        """
        if self.file is None:
            examples, rows = _task_rows(pl_module)
            drawn = [examples[row] for row in draw(rows, self.limit, self.seed)]
            self._sources = [_Source(example.id, example.policy_prompt, example.prompt_ids) for example in drawn]
        return super().run(pl_module)

    def measure(self, policy: Policy) -> Measurement:
        """Compare base and policy at every token of the base's completions."""
        prompts, cut = self._encode(policy)
        completions = self._complete(policy, prompts)
        divergence: list[Tensor] = []
        for start in range(0, len(prompts), _ROWS):
            divergence += _forward_kl(policy, prompts[start : start + _ROWS], completions[start : start + _ROWS])
        sums = zip(self._sources, token_sums(divergence).tolist(), strict=True)
        items = [Item("forward_kl", source.id, {"forward_kl": of_prompt}) for source, of_prompt in sums]
        signature = (
            f"forward_kl:mean|{OVER_TOKENS}|of:KL(base to policy)|prompts:{len(prompts)}|cut:{cut}|completions:base"
            f"|temperature:1|max_new:{self.max_new_tokens}|max_prompt:{self.max_prompt_tokens}|sampling:{self.seed}"
        )
        score = score_items(items, "forward_kl", "ratio", signature)
        return Measurement({"forward_kl": score}, items).with_name(self.name)

    def _encode(self, policy: Policy) -> tuple[list[list[int]], int]:
        """Token ids of the prompts, and the number of prompts that were cut."""
        encoder, most = policy.encoder, self.max_prompt_tokens
        before = encoder.truncated_prompts  # counts the prompts of the evaluation, and must not count these
        try:
            ids = [
                list(own) if (own := source.ids) and len(own) <= most else encoder.encode_prompt(source.prompt, most)
                for source in self._sources
            ]
            return ids, encoder.truncated_prompts - before
        finally:
            encoder.truncated_prompts = before

    def _complete(self, policy: Policy, prompts: list[list[int]]) -> list[list[int]]:
        """Completions that the base samples, once per content of the prompts."""
        config = policy.causal_lm.config
        key = (config.name_or_path, config.get_text_config().vocab_size, tuple(map(tuple, prompts)))
        if key not in self._completions:
            with policy.acting_as("base"):
                sampled = generate(
                    policy, prompts, max_new_tokens=self.max_new_tokens, temperature=1.0, seed=self.seed, rows=32
                )
            lengths = sampled.completion_mask.sum(1).tolist()
            rows = zip(sampled.completion_ids.tolist(), lengths, strict=True)
            self._completions[key] = [ids[:length] for ids, length in rows]
        return self._completions[key]


def _forward_kl(policy: Policy, prompts: list[list[int]], completions: list[list[int]]) -> list[Tensor]:
    """KL(base || policy) at each completion token, one float32 tensor per completion, on the CPU."""
    hidden = unshared_hidden(policy, prompts, completions)
    kl = []
    with policy.acting_as("base"):
        base_hidden = unshared_hidden(policy, prompts, completions)
    # In slices: logits of all tokens at once would be the run's peak memory.
    for own, base in zip(hidden.split(128), base_hidden.split(128), strict=True):
        logits = policy.head(own)
        with policy.acting_as("base"):
            base_logits = policy.head(base)
        kl.append(kl_from_logits(base_logits, logits).cpu())
    return list(torch.cat(kl).split([len(ids) for ids in completions]))


def _task_rows(module: LightningModule) -> tuple[Sequence[Example], list[int]]:
    """Examples of the split that the run evaluates on, and the indices of those with a prompt of the task."""
    data = data_module_of(module.trainer)
    given = data.examples if isinstance(data, ExampleData) else {}
    splits = ("test",) if module.trainer.state.fn == TrainerFn.TESTING else ("validation", "train")
    for split in splits:
        examples = given.get(split, ())
        examples = examples.rewarded if isinstance(examples, Examples) else examples
        if rows := _prompted_rows(examples):
            return examples, rows
    raise ValueError(
        f"ForwardKLProbe.file: null takes the prompts of the data module, and {type(data).__name__} has none "
        f"(split {' or '.join(splits)}); give a text file with one prompt per line"
    )


def _prompted_rows(examples: Sequence[Example]) -> list[int]:
    """Indices of the examples that are no raw text; of a corpus, which is raw text or not, one row is read."""
    sizes = examples.sizes if isinstance(examples, Examples) else [1] * len(examples)
    corpora = [range(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]
    return [row for rows in corpora if rows and not examples[rows[0]].is_raw_text for row in rows]


def _read_prompts(file: str) -> list[_Source]:
    lines = read_text_lines("ForwardKLProbe.file", file, unit="prompt")
    return [_Source(place, line) for place, line in lines.items()]

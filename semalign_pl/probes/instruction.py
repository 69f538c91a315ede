"""Probe of instruction following, with instructions that code can check (IFEval, arXiv 2311.07911)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from semalign_pl.data.reading.fields import Fault, text_of
from semalign_pl.data.reading.formats import escape
from semalign_pl.engine.generate import generate
from semalign_pl.functional.formulas import score_items
from semalign_pl.languages import get_language
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe
from semalign_pl.probes.generation_rows import Record, draw, read_records
from semalign_pl.probes.instruction_kinds import Instruction, follow, read_instruction
from semalign_pl.probes.instruction_language import TextRules
from semalign_pl.types import Item, Measurement


@dataclass(frozen=True)
class _Prompt:
    """Prompt with verifiable instructions.

    Attributes:
        id: Source of the row, such as ``ifeval.jsonl:17``.
        text: User's message.
        instructions: Instructions in it, at least one.
    """

    id: str
    text: str
    instructions: tuple[Instruction, ...]


class InstructionProbe(Probe):
    """Share of verifiable instructions that greedy responses follow, as IFEval defines it, 0 to 100.

    Scores are ``NAME_prompt_strict`` (prompts with all instructions followed), ``NAME_instruction_strict``
    (instructions followed), and the same two ``_loose``, which also accept the response without asterisks, or without
    its first or last line. Items are prompts.

    Args:
        file: File of IFEval's form, with prompt, instruction_id_list and kwargs in each row, or a hub data set such as
            google/IFEval@train.
        language: Language of the responses, which words, sentences and keywords are counted by: IFEval's rules for en,
            the units of languages.yaml for any other.
        limit: Maximum number of prompts, drawn by seed; null for all.
        max_prompt_tokens: Maximum number of tokens per prompt; longer ones are cut at the end of the message, and
            counted in the signature.
        max_new_tokens: Maximum number of tokens per response.
        name: Prefix of the scores' names, and name of the set of items.
        seed: Seed of the draw of prompts.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
    """

    def __init__(
        self,
        file: str,
        language: str = "en",
        limit: int | None = None,
        max_prompt_tokens: int = 2048,
        max_new_tokens: int = 1280,
        name: str = "ifeval",
        seed: int = 0,
        every_n_steps: int | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        self.check_positive(limit=limit, max_prompt_tokens=max_prompt_tokens, max_new_tokens=max_new_tokens)
        self.file, self.limit, self.name, self.seed = file, limit, name, seed
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self.rules = TextRules(get_language(language))
        columns = ("prompt", "instruction_id_list", "kwargs")
        records = read_records("InstructionProbe.file", file, columns, split="train")
        self.prompts = draw([_read_prompt(id, record, self.rules) for id, record in records.items()], limit, seed)

    def measure(self, policy: Policy) -> Measurement:
        """Answer every prompt greedily and check the responses."""
        texts = [prompt.text for prompt in self.prompts]
        ids, cut = policy.encoder.encode_prompts(texts, self.max_prompt_tokens)
        responses = generate(policy, ids, max_new_tokens=self.max_new_tokens, rows=32).texts
        items = [self._score(prompt, text) for prompt, text in zip(self.prompts, responses, strict=True)]
        signature = (
            f"prompts:{len(items)}|instructions:{sum(len(prompt.instructions) for prompt in self.prompts)}"
            f"|seed:{self.seed}|decode:greedy|max_new:{self.max_new_tokens}|max_prompt:{self.max_prompt_tokens}"
            f"|cut:{sum(cut)}|checks:ifeval-1|{self.rules.signature}|scale:100"
        )
        scores = {}
        for key in items[0].statistics:
            kind = key.removeprefix(f"{self.name}_")
            formula = "mean" if kind.startswith("prompt") else "ratio"
            scores[key] = score_items(items, key, formula, f"{kind}|{signature}")
        return Measurement(scores, items)

    def _score(self, prompt: _Prompt, response: str) -> Item:
        statistics: dict[str, list[float]] = {}
        for kind, loose in (("strict", False), ("loose", True)):
            followed = follow(prompt.instructions, response, self.rules, loose)
            statistics[f"{self.name}_prompt_{kind}"] = [100.0 * all(followed)]
            statistics[f"{self.name}_instruction_{kind}"] = [100.0 * sum(followed), float(len(followed))]
        return Item(self.name, prompt.id, statistics, response)


def _read_prompt(id: str, record: Record, rules: TextRules) -> _Prompt:
    """Prompt of one row.

    Raises:
        ValueError: If the row is not of IFEval's form, or an instruction cannot be checked in the language.
    """
    where = f"InstructionProbe.file: {escape(id)}"
    try:
        text = text_of(record, "prompt", "prompt")
    except Fault as fault:
        raise ValueError(f"{where}: {fault}") from fault
    kinds, arguments = record.get("instruction_id_list"), record.get("kwargs")
    if not (isinstance(kinds, list) and isinstance(arguments, list) and 0 < len(kinds) == len(arguments)):
        raise ValueError(
            f"{where}: instruction_id_list and kwargs must be lists of the same length; mend or drop the row"
        )
    instructions = []
    for kind, given in zip(kinds, arguments, strict=True):
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f"{where}: kwargs has {str(given)[:40]!r}, not an object; mend or drop the row")
        instructions.append(read_instruction(where, kind, given or {}, rules))
    return _Prompt(id, text, tuple(instructions))

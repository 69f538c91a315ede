"""Policy as a model of lm-evaluation-harness; imports the harness, and so is imported inside functions only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    postprocess_generated_text,
    resolve_max_length,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from semalign_pl.chat.bounded_template import render_chat
from semalign_pl.engine.continuations import score_continuations
from semalign_pl.engine.generate import generate
from semalign_pl.policy.policy import Policy

MAX_GEN_TOKENS = 256
"""Number of tokens that a task generates if it gives none, as in the harness's ``hf`` backend."""
_FIRST_TOKENS = 32
"""Number of tokens after which generation first looks for a stop sequence; doubled each time."""
_IGNORED = ("do_sample", "use_cache", "early_stopping")

Pair = tuple[tuple[str, str], list[int], list[int]]
"""Texts and token ids of a context and its continuation."""


@dataclass(frozen=True)
class Sampling:
    """Options of generation that the engine has, by their names in a task; greedy by default."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class PolicyLM(TemplateLM):
    """Model of lm-evaluation-harness that runs on the package's engine.

    Texts become tokens, and contexts are cut, as in the harness's ``hf`` backend (lm_eval/models/huggingface.py), so
    that the numbers are the same. Continuations of one context share its forward.

    Args:
        policy: Policy in inference mode.
        max_length: Maximum number of tokens of a context and its continuation; ``None`` for the base's own limit.
        seed: Seed of the sampling, for tasks that sample.
        enable_thinking: Value of the chat template's variable of this name; ``None`` to leave it to the template.

    Attributes:
        truncated: Number of contexts that were cut at their beginning.
    """

    def __init__(self, policy: Policy, max_length: int | None, seed: int, enable_thinking: bool | None) -> None:
        super().__init__()
        self.policy, self.seed = policy, seed
        self.tokenizer: Any = policy.encoder.tokenizer  # its methods are typed for one text and for many at once
        self.max_length = max_length or resolve_max_length(policy.causal_lm.config, self.tokenizer)
        self.thinking = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
        self.truncated = 0

    @property
    def eot_token_id(self) -> int:
        """Token id of the end of a text."""
        eos = self.tokenizer.eos_token_id
        return self.policy.eos_ids[0] if eos is None else eos

    @property
    def prefix_token_id(self) -> int:
        """Token id of the context of a text without one: BOS, or else EOS."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for the harness's caches."""
        return self.tokenizer.name_or_path.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: object) -> list[int]:
        """Token ids of a text.

        Args:
            string: Text.
            add_special_tokens: Flag to let the tokenizer add special tokens; ``None`` for its default, unless the text
                begins with BOS.
            kwargs: Not used.
        """
        begins = has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id))
        return self._encode(string, False if add_special_tokens is None and begins else add_special_tokens)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, in nats, and whether greedy decoding would give it."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of whole texts in nats, in windows that do not overlap."""
        windows: list[list[Pair]] = []
        for (text,) in (request.args for request in requests):
            ids = self.tok_encode(text)
            of_text = get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1)
            windows.append([(("", ""), *make_disjoint_window(window)) for window in of_text])
        found = iter(self._loglikelihood_tokens([window for of_text in windows for window in of_text]))
        return [sum(next(found)[0] for _ in of_text) for of_text in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Texts that the policy generates, cut at the first stop sequence."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(list(request.args)[1], sort_keys=True, default=str), []).append(place)
        texts = [""] * len(requests)
        for members in groups.values():
            contexts, (options, *_) = zip(*(requests[place].args for place in members), strict=True)
            generated = self._generate(contexts, options)
            for place, text in zip(members, generated, strict=True):
                texts[place] = text
        return texts

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """Text of a conversation; without a generation prompt, it ends with the last message, to be continued."""
        text = render_chat(
            self.tokenizer, chat_history, None, add_generation_prompt=add_generation_prompt, **self.thinking
        )
        if add_generation_prompt:
            return text
        # As transformers' `continue_final_message`: trailing space stays only where the template has kept it.
        last = chat_history[-1]["content"]
        start = text.rindex(last.strip())
        kept = last.lstrip()
        return text[: start + (len(kept) if text[start : start + len(kept)] == kept else len(last.strip()))]

    def _encode(self, text: str, add_special_tokens: bool | None) -> list[int]:
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(text, **options)

    def _loglikelihood_tokens(self, requests: list[Pair], **kwargs: object) -> list[tuple[float, bool]]:
        places: dict[tuple[int, ...], list[int]] = {}
        for place, (texts, context, continuation) in enumerate(requests):
            if not 0 < len(continuation) <= self.max_length:
                raise ValueError(
                    f"a continuation has {len(continuation)} tokens ({texts[1][:40]!r}), and 1 to {self.max_length} "
                    "can be scored; leave the task out, or set another max_length"
                )
            room = self.max_length + 1 - len(continuation)
            self.truncated += len(context) > room
            places.setdefault(tuple(context[-room:]), []).append(place)
        options = [[requests[place][2] for place in of_context] for of_context in places.values()]
        scored = score_continuations(self.policy, [list(context) for context in places], options)
        results = [(0.0, False)] * len(requests)
        for of_context, found in zip(places.values(), scored, strict=True):
            for place, one in zip(of_context, found, strict=True):
                results[place] = (one.logprob, one.greedy)
        return results

    def _generate(self, contexts: Sequence[str], options: Mapping[str, Any]) -> list[str]:
        """Texts after contexts that share the same options of generation."""
        settings: dict[str, Any] = dict(normalize_gen_kwargs(dict(options), MAX_GEN_TOKENS))
        until = handle_stop_sequences(list(settings.pop("until")), eos=self.tokenizer.decode(self.eot_token_id))
        limit = int(settings.pop("max_gen_toks"))
        sampling = _sampling(settings)
        room = self.max_length - limit
        if room < 1:
            raise ValueError(
                f"the task generates up to {limit} tokens, and context and answer have {self.max_length} together; "
                "set a larger max_length"
            )
        bos = self.tokenizer.bos_token
        prompts = [self._encode(text, False if has_bos_prefix(text, bos) else None) for text in contexts]
        self.truncated += sum(len(ids) > room for ids in prompts)
        prompts = [ids[-room:] for ids in prompts]
        special = set(self.tokenizer.all_special_tokens).intersection(until)
        ends = {self.eot_token_id, *map(self.tokenizer.convert_tokens_to_ids, special)}
        answers: list[list[int]] = [[] for _ in prompts]
        waiting, done, size = list(range(len(prompts))), 0, _FIRST_TOKENS
        # Stop sequences are texts, which the engine does not look for: it generates some tokens, then more of them for
        # the answers without one.
        while waiting:
            size = min(size, limit - done)
            begun = [prompts[place] + answers[place] for place in waiting]
            rollouts = generate(
                self.policy,
                begun,
                max_new_tokens=size,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                min_p=sampling.min_p,
                seed=self.seed + done,
            )
            done += size
            unfinished = []
            for row, place in enumerate(waiting):
                answers[place] += rollouts.completion_ids[row][rollouts.completion_mask[row]].tolist()
                text = self._decode(answers[place], ends)
                ended = bool(rollouts.finished[row]) or not ends.isdisjoint(answers[place])
                if not ended and done < limit and not any(stop and stop in text for stop in until):
                    unfinished.append(place)
            waiting, size = unfinished, size * 2
        return [postprocess_generated_text(self._decode(ids, ends), until, None) for ids in answers]

    def _decode(self, ids: Sequence[int], ends: set[int]) -> str:
        """Text of an answer up to the first token that ends it."""
        end = next((at for at, token in enumerate(ids) if token in ends), len(ids))
        return self.tokenizer.decode(list(ids[:end]), skip_special_tokens=True)


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    """Options of the engine's sampling.

    Raises:
        ValueError: If the task asks for a way of generation that the engine does not have.
    """
    known = [field.name for field in fields(Sampling)]
    unknown = [key for key, value in settings.items() if key not in (*known, *_IGNORED) and value not in (None, 1)]
    if unknown:
        raise ValueError(
            f"the task generates with {unknown[0]}: {settings[unknown[0]]}, which the engine does not have "
            f"({', '.join(known)}); leave the task out, or give a task of your own without it"
        )
    return Sampling(**{key: settings[key] for key in known if key in settings}) if settings["do_sample"] else Sampling()

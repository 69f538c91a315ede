"""Judge on this machine: a causal LM, whose verdict is the likeliest option where its answer begins."""

from __future__ import annotations

import asyncio
import os.path
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.digest import digest
from semalign_pl.judge.failures import RefusedQuestion
from semalign_pl.judge.options import longest_shared, option_probabilities
from semalign_pl.judge.question import Question, Reply
from semalign_pl.run.digests import Digests

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from semalign_pl.policy.causal_lm import Weights

_MESSAGE = "\ue000"  # placeholder for the message; the rendered chat template is split at it


class LocalModel:
    """Causal LM that chooses between the options of a question by the probabilities of their first tokens that differ.

    It writes no reasons: the answer begins with the keyword, ``VERDICT:``, and the next tokens decide. Special tokens
    that are spelled out in a text stay text, so a text cannot end the message and answer for the judge.

    Args:
        folder: Folder or hub id of the model.
        digests: JSON file to cache the digests of the model's files in.
        weights: Format of the weights: nf4, bf16 or fp32.
        device: Device of the model.
        option: Flag or YAML key that names the folder, for messages.
        name: Name of the judge in results; the folder's by default.
    """

    def __init__(
        self,
        folder: str,
        digests: Path,
        weights: Weights = "bf16",
        device: str | torch.device = "cpu",
        option: str = "--judge",
        name: str | None = None,
    ) -> None:
        self.folder, self.device, self._option = folder, device, option
        self.weights: Weights = weights
        self._digests = digests
        self.name = name or os.path.basename(os.path.normpath(folder))
        self._lock = threading.Lock()
        self.requests = self.failures = 0
        self.answered = False

    @property
    def identity(self) -> str:
        """Folder with the digest of its files, and format of the weights."""
        return f"local:{self.folder}:{self._digest}|{self.weights}"

    @cached_property
    def _digest(self) -> str:
        from semalign_pl.policy.causal_lm import check_folder

        check_folder(self._option, self.folder)
        root, digests = Path(self.folder), Digests(self._digests)
        if not root.is_dir():
            from huggingface_hub import try_to_load_from_cache

            self.prepare()  # takes the hub's newest files into the cache
            config = try_to_load_from_cache(self.folder, "config.json")
            assert isinstance(config, str)
            root = Path(config).parent
        files = sorted(file for file in root.rglob("*") if file.is_file())
        return digest({str(file.relative_to(root)): digests.of(file) for file in files}, digits=16)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        from semalign_pl.policy.causal_lm import load_tokenizer

        return load_tokenizer(self._option, self.folder)

    @cached_property
    def _model(self) -> PreTrainedModel:
        import torch

        from semalign_pl.policy.causal_lm import load_causal_lm

        return load_causal_lm(self._option, self.folder, self.weights, torch.device(self.device)).eval()

    async def ask(self, question: Question) -> Reply:
        """Answer one question.

        Args:
            question: Question to ask.

        Raises:
            RefusedQuestion: If the question is longer than the model reads.
            ValueError: If the model cannot be loaded, or its tokens do not tell the options apart.
        """
        return await asyncio.to_thread(self.choose, question)

    async def close(self) -> None:
        """Nothing to close."""

    def prepare(self) -> None:
        """Load the model, so that a wrong folder is known before another judge is paid for.

        Raises:
            ValueError: If it cannot be loaded.
        """
        _ = self._tokenizer, self._model

    def choose(self, question: Question) -> Reply:
        """Answer one question, in this thread.

        Args:
            question: Question to ask.
        """
        import torch

        with self._lock, torch.no_grad(), torch.autocast(torch.device(self.device).type, enabled=False):
            begun = time.monotonic()
            ids, ends = self.encode(question)
            shared = longest_shared(ends)
            ids = [*ids, *shared]
            reads = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
            if reads is not None and len(ids) > reads:
                raise RefusedQuestion(f"{self.name}: the question has {len(ids)} tokens, and the model reads {reads}")
            inputs = torch.tensor([ids], device=self._model.device)
            logits = self._model(input_ids=inputs, use_cache=False, logits_to_keep=len(shared) + 1).logits[0]
            probabilities = option_probabilities(logits[-len(shared) - 1 :], shared, ends)
            self.requests += 1
            self.answered = True
        best = question.options[max(range(len(probabilities)), key=probabilities.__getitem__)]
        return Reply(
            text=f"{question.keyword}: {best}",
            prompt_tokens=len(ids),
            completion_tokens=1,
            seconds=round(time.monotonic() - begun, 3),
            probabilities=tuple(round(one, 6) for one in probabilities),
        )

    def encode(self, question: Question) -> tuple[list[int], list[list[int]]]:
        """Token ids up to where the options differ, and each option's next tokens.

        Args:
            question: Question to encode.

        Raises:
            ValueError: If the tokens do not tell the options apart, or the chat template refuses the messages.
        """
        before, after = self._frame(question)
        tokenizer = self._tokenizer
        plain = tokenizer.chat_template is None  # a chat template writes its own BOS
        head = tokenizer(before, add_special_tokens=plain)["input_ids"]
        body = tokenizer(question.user, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        tails = [
            tokenizer(f"{after}{question.keyword}: {option}", add_special_tokens=False)["input_ids"]
            for option in question.options
        ]
        common = len(os.path.commonprefix(tails))
        ends = [tail[common:] for tail in tails]
        shared = longest_shared(ends)
        decided = {tuple(end[: len(os.path.commonprefix([end, shared])) + 1]) for end in ends}
        if len(decided) < len(ends) or any(end == shared[: len(end)] for end in ends):
            raise ValueError(
                f"{self._option}: {self.folder}: its tokenizer does not tell {', '.join(question.options)} apart; take "
                "another judge"
            )
        return [*head, *body, *tails[0][:common]], ends

    def _frame(self, question: Question) -> tuple[str, str]:
        """Text before and after the message."""
        from jinja2 import TemplateError

        from semalign_pl.chat.bounded_template import TemplateLimitError, render_chat

        messages = [*question.messages[:-1], {"role": "user", "content": _MESSAGE}]
        if self._tokenizer.chat_template is None:
            text = "".join(f"{message['content']}\n" for message in messages)
        else:
            try:
                text = render_chat(self._tokenizer, messages, add_generation_prompt=True, enable_thinking=False)
            except (TemplateLimitError, TemplateError) as error:
                raise ValueError(
                    f"{self._option}: the chat template of {self.folder} refuses the rubric's messages ({error}); take "
                    "another judge, or a rubric without system"
                ) from error
        before, _, after = text.partition(_MESSAGE)
        return before, after

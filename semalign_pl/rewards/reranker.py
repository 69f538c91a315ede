"""Reward by a causal LM that is asked for a yes or a no: is the completion a translation?"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from semalign_pl.chat.bounded_template import TemplateLimitError, render_chat
from semalign_pl.functional.judgement import yes_probability
from semalign_pl.policy.causal_lm import Weights, check_folder, load_causal_lm, load_tokenizer
from semalign_pl.policy.policy import scale_and_softcap_logits
from semalign_pl.rewards.pair_reward import PairReward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INSTRUCTION = (
    "Given a Query in Chinese, judge whether the Document is its faithful translation into Tibetan, with nothing left "
    "out, added or repeated"
)
SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
    'answer can only be "yes" or "no".'
)
TEMPLATE = "<Instruct>: {instruction}\n<Query>: {anchor}\n<Document>: {completion}"
_MESSAGE = "\ue000"  # placeholder for the message; the rendered chat template is split at it


class RerankerReward(PairReward["PreTrainedModel"]):
    """``r = exp z_yes / (exp z_yes + exp z_no)`` at the first token of a judge's answer (SG-SRL, arXiv 2605.29502).

    The judge is any causal LM. Its chat template is used, with thinking switched off if the template can do so. The
    defaults are the format that Qwen3-Reranker was trained on (arXiv 2506.05176), with an instruction of ours. Special
    tokens that are spelled out in a completion stay text, so a completion cannot end the message and answer for the
    judge.

    Args:
        judge: Causal LM: hub id or folder.
        weights: Format of the judge's weights: nf4 (4-bit quantisation, with double quantisation), bf16 or fp32.
        anchor: Text that a completion is compared with: a column of the corpus such as `zh`, or `reference`.
        instruction: Question to the judge, with the names of the languages; write another one for another language
            pair, or if the anchor is the reference.
        template: Message to the judge, with the placeholders {instruction}, {anchor} and {completion};
            the last two are required.
        system: System message; empty for none.
        yes: Beginning of the judge's answer if it agrees; one token.
        no: Beginning of the judge's answer if it disagrees; one token.
        max_tokens: Maximum number of tokens that the judge reads; the anchor of a longer message is cut, and counted.
        micro_batch_tokens: Number of tokens read at once, padding included; lower it to save memory, results stay the
            same.
        weight: Factor in the total reward.
    """

    def __init__(
        self,
        judge: str,
        weights: Weights = "nf4",
        anchor: str = "zh",
        instruction: str = INSTRUCTION,
        template: str = TEMPLATE,
        system: str = SYSTEM,
        yes: str = "yes",
        no: str = "no",
        max_tokens: int = 2048,
        micro_batch_tokens: int = 8192,
        weight: float = 1.0,
    ) -> None:
        super().__init__(anchor, weight)
        missing = next((field for field in ("{anchor}", "{completion}") if field not in template), None)
        if missing is not None:
            raise ValueError(f"RerankerReward.template: {template!r} has no {missing}; put it where the text goes")
        if yes == no:
            raise ValueError(
                f"RerankerReward.no: {no!r} is also the answer yes; give the two words that a judge tells apart"
            )
        for name, tokens in (("max_tokens", max_tokens), ("micro_batch_tokens", micro_batch_tokens)):
            if tokens < 1:
                raise ValueError(f"RerankerReward.{name}: {tokens} is not a positive whole number; give 1 or more")
        self.judge, self.max_tokens, self.micro_batch_tokens = judge, max_tokens, micro_batch_tokens
        self.weights: Weights = weights
        self.instruction, self.template, self.system = instruction, template, system
        self.answers = {"yes": yes, "no": no}

    @property
    def signature(self) -> str:
        """Every option that changes the score; the texts of the question as a digest."""
        asked = hashlib.sha256("\0".join((self.system, self.template, self.instruction)).encode()).hexdigest()[:8]
        words = "|".join(f"{name}:{word}" for name, word in self.answers.items())
        return (
            f"{super().signature}|judge:{self.judge}|weights:{self.weights}|anchor:{self.anchor}|asked:{asked}|{words}"
            f"|max_tokens:{self.max_tokens}"
        )

    def load(self, device: torch.device) -> PreTrainedModel:
        """Load the judge.

        Args:
            device: Device of the model.

        Raises:
            ValueError: If the judge cannot be loaded, reads fewer than ``max_tokens`` tokens, refuses a system message,
                or does not have each answer as a single token.
        """
        check_folder("RerankerReward.judge", self.judge)
        self.tokenizer = load_tokenizer("RerankerReward.judge", self.judge)
        model = load_causal_lm("RerankerReward.judge", self.judge, self.weights, device)
        reads = getattr(model.config.get_text_config(), "max_position_embeddings", None) or self.max_tokens
        if reads < self.max_tokens:
            raise ValueError(
                f"RerankerReward.max_tokens: {self.max_tokens} is more than {self.judge} reads; give {reads} or less"
            )
        self._answer_ids = torch.tensor([self._answer_id(name) for name in self.answers], device=device)
        self._before, self._after = self._frame()
        return model.eval()

    def room(self) -> int:
        """Maximum number of tokens that the judge reads, ``max_tokens``."""
        return self.max_tokens

    def tokens(self, anchor: str, completion: str) -> int:
        """Number of tokens of the judge's whole input."""
        return len(self.encode(anchor, completion))

    def encode(self, anchor: str, completion: str) -> list[int]:
        """Encode the judge's input, up to where its answer begins.

        Args:
            anchor: Text to compare with.
            completion: Text to judge.

        Returns:
            Token ids.
        """
        texts = {"instruction": self.instruction, "anchor": anchor, "completion": completion}
        # In one pass, so that braces in a text are not taken for placeholders.
        message = re.sub(r"\{(instruction|anchor|completion)\}", lambda found: texts[found[1]], self.template)
        ids = self.tokenizer(message, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return [*self._before, *ids, *self._after]

    def probabilities(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Probability of the answer yes, if the only other answer is no.

        Rows are padded on the right. A causal LM does not attend to later tokens, so each row gives the same result as
        alone.
        """
        rows = [torch.tensor(self.encode(*pair)) for pair in pairs]
        scores = torch.empty(len(rows))
        for batch in _batches([len(row) for row in rows], self.micro_batch_tokens):
            ids = pad_sequence([rows[i] for i in batch], batch_first=True).to(self.loaded.device)
            hidden = self.loaded.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            last = torch.tensor([len(rows[i]) - 1 for i in batch], device=hidden.device)
            logits = self._answer_logits(hidden[torch.arange(len(batch), device=hidden.device), last])
            scores[batch] = yes_probability(logits).cpu()
        return scores

    def _answer_logits(self, hidden: Tensor) -> Tensor:
        """Logits of yes and no, ``(rows, 2)`` float32.

        Only two rows of the output head are used, in float32: bf16 would round logits to steps of 1/8.
        """
        head = self.loaded.get_output_embeddings()
        assert head is not None, "a causal LM has an output head"
        if type(head) is nn.Linear:
            bias = None if head.bias is None else head.bias[self._answer_ids].float()
            logits = nn.functional.linear(hidden.float(), head.weight[self._answer_ids].float(), bias)
        else:
            logits = head(hidden)[:, self._answer_ids].float()
        return scale_and_softcap_logits(logits, self.loaded.config.get_text_config())

    def _answer_id(self, name: str) -> int:
        word = self.answers[name]
        ids = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise ValueError(
                f"RerankerReward.{name}: {word!r} is {len(ids)} tokens to {self.judge}, or unknown; give a word that "
                "is one token, with the space before it if the answer begins with one"
            )
        return ids[0]

    def _frame(self) -> tuple[list[int], list[int]]:
        """Token ids before and after the message."""
        from jinja2 import TemplateError

        spoken = [{"role": "system", "content": self.system}] if self.system else []
        if self.tokenizer.chat_template is None:
            text = "".join(message["content"] + "\n" for message in [*spoken, {"content": _MESSAGE}])
        else:
            try:
                messages = [*spoken, {"role": "user", "content": _MESSAGE}]
                text = render_chat(self.tokenizer, messages, add_generation_prompt=True, enable_thinking=False)
            except TemplateLimitError as error:
                raise ValueError(
                    f"RerankerReward.judge: the chat template of {self.judge} is out of bounds: {error}; mend its "
                    "chat_template.jinja, or take another judge"
                ) from error
            except TemplateError as error:
                raise ValueError(
                    f"RerankerReward.system: the chat template of {self.judge} refuses it ({error}); set system: '' "
                    "and say it in template"
                ) from error
        before, _, after = text.partition(_MESSAGE)
        plain = self.tokenizer.chat_template is None  # a chat template writes its own BOS
        return (
            self.tokenizer(before, add_special_tokens=plain)["input_ids"],
            self.tokenizer(after, add_special_tokens=False)["input_ids"],
        )


def _batches(lengths: list[int], budget: int) -> list[list[int]]:
    """Row indices of each batch, longest rows first.

    A batch, padded to its longest row, has at most ``budget`` tokens, unless it is a single row.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > budget:
            batches.append([])
        batches[-1].append(row)
    return batches

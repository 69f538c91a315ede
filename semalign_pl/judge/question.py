"""One question to a judge, and its answer read: a line such as ``VERDICT: 1``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

PAIRWISE = "VERDICT", ("1", "2", "tie")
"""Keyword and options of a comparison: the answer shown first, the one shown second, neither."""
ABSOLUTE = "SCORE", ("1", "2", "3", "4", "5")
"""Keyword and options of a score, from useless to perfect."""
_THOUGHTS = re.compile(r"\A\s*<think>.*?(</think>|\Z)|\A.*?</think>", re.DOTALL | re.IGNORECASE)
"""Thoughts at the beginning of an answer; some servers leave out the tag that opens them. A tag later in an answer
quotes one of the texts."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        system: System message; empty for none.
        user: User's message: the texts, and what is asked.
        keyword: Word that begins the line with the verdict.
        options: Verdicts to choose from.
    """

    system: str
    user: str
    keyword: str
    options: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """Messages of the chat-completions protocol."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.user}]

    def again(self) -> Question:
        """Question to ask after an answer without a verdict: the same, with a request for nothing but the verdict."""
        lines = " or ".join(f"{self.keyword}: {option}" for option in self.options)
        request = f"{self.user}\n\nDo not explain. Answer with exactly one of these lines: {lines}"
        return Question(self.system, request, self.keyword, self.options)


@dataclass(frozen=True)
class Reply:
    """Answer of a judge.

    Attributes:
        text: Answer.
        complete: False if the answer was cut off or withheld.
        prompt_tokens: Tokens that the judge read.
        completion_tokens: Tokens that the judge wrote.
        seconds: Time from question to answer, in seconds.
        probabilities: Probability of each option, for a judge whose log-probs are known; else empty.
        tries: Number of questions: 2 if the first answer had no verdict.
    """

    text: str
    complete: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    probabilities: tuple[float, ...] = ()
    tries: int = 1


class JudgeModel(Protocol):
    """Anything that answers questions: an endpoint or a local model.

    Attributes:
        answered: True if it has answered a question, in this command or in an earlier one.
    """

    answered: bool

    @property
    def name(self) -> str:
        """Name of the judge in results."""
        ...

    @property
    def identity(self) -> str:
        """Everything except the question that changes an answer; a part of the cache's keys."""
        ...

    async def ask(self, question: Question) -> Reply:
        """Answer one question; many can be asked at once."""
        ...


def read_option(reply: Reply, question: Question) -> str | None:
    r"""Verdict of an answer: one of the question's options; ``None`` if there is none.

    The last line that begins with the keyword counts; without one, the last place in a line does: a judge may quote a
    verdict that one of the texts asks for. An answer that is nothing but an option is a verdict, too. An answer that
    was cut off has none, as its last line may be half of one. Nor has one that repeats the lines of all options.

    Args:
        reply: Answer of the judge.
        question: Question that was asked.

    >>> question = Question("", "?", *PAIRWISE)
    >>> [read_option(Reply(text), question) for text in ("**Verdict:** 2", "VERDICT: 1\nVERDICT: tie", "Both.", "12")]
    ['2', 'tie', None, None]
    """
    if not reply.complete:
        return None
    text = _THOUGHTS.sub("", reply.text)
    options = "|".join(re.escape(option) for option in question.options)
    marks = r"[\s*_`\"'\[({<]*"
    best = question.options[-1]
    out_of = rf"(?!{best}\b)" if best.isdigit() else ""  # "4/5" is a grade out of 5, "1/2" is no verdict
    another = rf"\w|[.,]\d|[ \t]*(?:(?:or|and|to)\b|[,&|=–-][ \t]*(?:{options})\b|/[ \t]*{out_of}\w)"
    verdict = rf"{question.keyword}{marks}[:：=]{marks}({options})(?!{another})"
    for before in (r"^[ \t>#*_`\"'\[({<-]*", r"\b"):
        if found := [one.lower() for one in re.findall(before + verdict, text, re.IGNORECASE | re.MULTILINE)]:
            return None if set(found) == set(question.options) else found[-1]
    alone = text.strip().strip("*_`\"'[](){}<>.。 \n").lower()
    return alone if alone in question.options else None


def reason_of(reply: Reply, question: Question) -> str:
    """Judge's words without its thoughts and the line of the verdict.

    Args:
        reply: Answer of the judge.
        question: Question that was asked.
    """
    text = _THOUGHTS.sub("", reply.text)
    lines = [line for line in text.split("\n") if not re.search(rf"\b{question.keyword}\W*[:：=]", line, re.IGNORECASE)]
    return "\n".join(lines).strip()

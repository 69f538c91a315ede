"""Flags of ``semalign judge``, checked before anything slow is imported."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.judge.spec import FORMS, JudgeSpec, parse_judge
from semalign_pl.messages.command_parser import CommandParser


@dataclass(frozen=True)
class Price:
    """Price of tokens, in any currency.

    Attributes:
        read: Price of a million tokens that the judge reads.
        written: Price of a million tokens that the judge writes.
    """

    read: float
    written: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of tokens.

        >>> Price(2.0, 10.0).of(500_000, 100_000)
        2.0
        """
        return (self.read * prompt_tokens + self.written * completion_tokens) / 1e6


@dataclass(frozen=True)
class Flags:
    """Checked flags that are more than a text or a number.

    Attributes:
        judges: Judges by their names in results.
        keys: Keys of the judges; empty for those without.
        temperature: Temperature; ``None`` for the server's default.
        prices: Prices by the judge's name.
    """

    judges: Mapping[str, JudgeSpec]
    keys: Mapping[str, str]
    temperature: float | None
    prices: Mapping[str, Price]


OF_SERVERS = ("parallel", "per_minute", "timeout", "retries", "max_tokens", "temperature", "price")
OF_LOCAL_MODELS = ("weights",)
"""Flags that act on judges at a server only, and on local judges only."""


def make_parser() -> CommandParser:
    """Parser of the command."""
    parser = CommandParser(
        prog="semalign judge",
        usage="semalign judge A.jsonl B.jsonl --judge MODEL@URL[,KEY_VARIABLE] [--judge local:FOLDER …] [options]\n"
        "       semalign judge A.jsonl B.jsonl --humans [--rubric RUBRIC] [--seed N]\n"
        "       semalign judge A.jsonl B.jsonl --humans --merge ANSWERS.json …",
        description="Compare two systems' answers to the same items: each judge sees both, in both orders. Prints the "
        "win rate of A, order bias, agreement and cost. Answers are kept as they are received: after Ctrl-C or a kill, "
        "the same command goes on from there.",
        epilog="A key is read from the environment variable that is named after the comma (for api.openai.com, "
        "OPENAI_API_KEY by default), and is written nowhere.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("a", metavar="A.jsonl", type=Path, help="answers of A: predictions.jsonl of a run, or translate's --out")
    add("b", metavar="B.jsonl", type=Path, help="answers of B to the same items, matched by id")
    add("--judge", action="append", default=[], metavar="JUDGE", help=f"{FORMS}; may be given several times")
    add("--rubric", default="translation", help="translation, headline, or a YAML file with prompts (%(default)s)")
    add("--humans", action="store_true", help="write a page for native readers, OUT/readers.html, and ask no model")
    add("--seed", type=int, default=0, metavar="N", help="order of pairs and sides on that page (%(default)s)")
    add("--merge", nargs="+", default=[], type=Path, metavar="FILE", help="merge answers that the page has exported")
    add("--language", default="", metavar="NAME", help="language of the answers, which the judge is told: Tibetan")
    add("--out", type=Path, default=Path("judge"), metavar="FOLDER", help="folder to write to (%(default)s)")
    add("--source", metavar="FIELD", help="field of the source (source, else prompt)")
    add("--text", metavar="FIELD", help="field of the answer (prediction, else text)")
    add("--reference", metavar="FIELD", help="field of the reference (reference, if there is one)")
    add("--parallel", type=int, default=8, metavar="N", help="requests at the same time, per judge (%(default)s)")
    add("--per-minute", type=float, metavar="N", help="requests per minute, per judge (no limit)")
    add("--timeout", type=float, default=120.0, metavar="SECONDS", help="time that an answer may take (%(default)g)")
    add("--retries", type=int, default=6, metavar="N", help="further tries after a failed request (%(default)s)")
    add("--max-tokens", type=int, default=2048, metavar="N", help="tokens of an answer, thoughts too (%(default)s)")
    add("--temperature", default="0", help="a number, or default for the server's own (%(default)s)")
    add("--price", action="append", default=[], metavar="JUDGE=IN,OUT", help="price of a million tokens read, written")
    add("--weights", choices=("nf4", "bf16", "fp32"), default="bf16", help="weights of local judges (%(default)s)")
    return parser


def check_flags(options: argparse.Namespace) -> Flags:
    """Check the flags, and read the keys.

    Args:
        options: Parsed flags.

    Raises:
        ValueError: If a flag cannot be used; names flag and remedy.
    """
    for flag, value in (("--merge", options.merge), ("--seed", options.seed)):
        if value:
            raise ValueError(f"{flag}: is for --humans, the page for readers; add --humans")
    if not options.judge:
        raise ValueError(f"--judge: missing; give {FORMS}, or --humans for a page for readers")
    for flag, value, least in (
        ("--parallel", options.parallel, 1),
        ("--retries", options.retries, 0),
        ("--max-tokens", options.max_tokens, 1),
    ):
        if value < least:
            raise ValueError(f"{flag}: {value} is too small; give {least} or more")
    for flag, value in (("--per-minute", options.per_minute), ("--timeout", options.timeout)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{flag}: {value:g} is no positive number; give one")
    if options.out.is_file():
        raise ValueError(f"--out: {options.out} is a file; give a folder")
    judges = name_judges([parse_judge("--judge", text) for text in options.judge])
    if not any(spec.url for spec in judges.values()):
        refuse_given(options, OF_SERVERS, "is for judges at a server, and none is given")
    if all(spec.url for spec in judges.values()):
        refuse_given(options, OF_LOCAL_MODELS, "is for local judges, and none is given")
    keys = {name: spec.read_key("--judge") for name, spec in judges.items()}
    return Flags(judges, keys, parse_temperature(options.temperature), _prices(options.price, judges))


def refuse_given(options: argparse.Namespace, names: Sequence[str], reason: str) -> None:
    """Refuse flags that would do nothing.

    Args:
        options: Parsed flags.
        names: Names of the flags, as attributes.
        reason: Reason, after the flag.

    Raises:
        ValueError: If one of them is not at its default; names it.
    """
    defaults = make_parser()
    for name in names:
        if getattr(options, name) != defaults.get_default(name):
            raise ValueError(f"--{name.replace('_', '-')}: {reason}; leave it out")


def name_judges(specs: Sequence[JudgeSpec]) -> dict[str, JudgeSpec]:
    """Judges by name: the model's, with the host where two would have the same.

    Args:
        specs: Judges.

    Raises:
        ValueError: If a judge is given twice.
    """
    short = [spec.model if spec.url else Path(spec.model).name or spec.model for spec in specs]
    counts = Counter(short)
    full = [f"{spec.model}@{spec.host}" if spec.url else spec.model for spec in specs]
    names = [one if counts[one] == 1 else other for one, other in zip(short, full, strict=True)]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise ValueError(f"--judge: {twice} is given twice; give each judge once")
    return dict(zip(names, specs, strict=True))


def parse_temperature(text: str) -> float | None:
    """Temperature from a flag; ``None`` for the server's default.

    Args:
        text: A number, or ``default``.

    Raises:
        ValueError: If it is neither, or negative.
    """
    if text == "default":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise ValueError(f"--temperature: {text!r} is no temperature; give a number from 0, or default")
    return value


def _prices(given: Sequence[str], judges: Mapping[str, JudgeSpec]) -> dict[str, Price]:
    prices = {}
    for text in given:
        name, _, amounts = text.rpartition("=")
        try:
            read, written = (float(amount) for amount in amounts.split(","))
        except ValueError:
            read = written = -1.0
        if not (0 <= read < math.inf and 0 <= written < math.inf):
            raise ValueError(f"--price: {text!r} is no price; give JUDGE=IN,OUT per million tokens: gpt-5-mini=0.25,2")
        if name not in judges:
            raise ValueError(f"--price: there is no judge {name!r}; there are {', '.join(judges)}")
        prices[name] = Price(read, written)
    return prices

"""Find the package's former private dialect in names, docstrings, comments, messages and documentation.

Run ``python tests/helpers/english.py [ROOM…]`` from the root for a list of hits, sorted by room.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCES = ("semalign_pl/**/*.py", "semalign_pl/**/*.jinja", "benchmarks/*.py", "docs/*.md", "*.md", "configs/**/*.*")

NAME_WORDS = {
    "behind": "`old_logps`, `ref_logps`, `prompt_cache`",
    "lighten": "`fast_lora_forward`",
    "handover": "`resume_hint`",
    "said": "say what the value is",
    "judged": "`filter`",
    "part": "`split`, `source file`, `chunk`, `share`",
    "parts": "`splits`, `rewards_per_func`, `chunks`",
    "profile": "`language`, `StepTimer`",
    "profiles": "`languages`",
    "cannot_share": "`prefix_sharing_unsupported_reason`",
    "why_not": "`…_unsupported_reason`",
    "finished_logits": "`scale_and_softcap_logits`",
}
"""Words that no identifier and no file name contains, and what to write instead."""
NEAR = re.compile(r"(^|_)near(_|$)(?!dup)")
FILE_NAMES = {"unseen", "counted", "handover", "lighten"}
CLASS_NAMES = {
    *("Prefix", "Continuations", "Sequences", "Layout", "Rows", "Decoding", "Found", "Request", "Counted", "Judge"),
    *("Score", "Scored", "Scorer", "Said", "Shown", "Known", "Unseen", "Profile"),
}
PARTICIPLES = {
    *("found", "shown", "said", "known", "kept", "held", "built", "drawn", "written", "given", "told", "made", "taken"),
    *("seen", "met", "sent", "begun", "thrown", "torn", "laid", "bound", "chosen", "hidden", "worn", "meant", "spent"),
}
UNITS = (
    "token|row|prompt|step|second|minute|corpus|completion|text|group|batch|layer|head|seed|system|epoch|weight|"
    "parameter|line|file|class|process|syllable|character|question|answer|pair|word|rank|device|card|language|column|"
    "micro-batch|sequence|document|item|run|metric|reward|config|format|conversation|cell|value|sentence|unit|table|"
    "page|room|commit|week|day|hour|month|year|time"
)
COUNTS = (
    "loss|losses|KL|NLL|nats|bits|bytes|tokens|rows|seconds|times|once|twice|syllables|texts|characters|prompts|"
    "completions|steps|minutes|GiB|MiB|KiB|value|values|number|numbers|files?|lists?|entry|entries|lines?|"
    r"pairs|points|units|letters|words|weights?|row|dictionary|ms|µs|s|%|\}"
)
PHRASES = {
    rf"(?<![\w-])(?:{COUNTS}) an? (?:{UNITS})\b(?! (?:of|that|is|has|holds))": "per …",
    r"(?:^|[.;:] )(?:See there|Likewise|The same)\.": "repeat the meaning",
    r"\bsee there\b": "say where",
    r"(?i)\bwhat (?:was|is|were|got|may be) lost\b": "general ability lost",
    r"(?i)\bwhat (?:was|is) learned\b": "quality in the new language",
    r"(?i)\bthe bill\b|\bthe tax of\b": "general ability lost; alignment tax",
    r"\bst(?:ands?|ood|anding)\b(?! for\b|-?alone| out\b)": "no verb of posture: follow, be in",
    r"\b(?:lies?|lay|lying)\b": "no verb of posture: be in",
    r"\b(?:sits?|sat|sitting)\b": "no verb of posture: be in",
    r"\bcom(?:es?|ing) out of\b": "be read from",
    r"\bsays? not\b|\bhas not what\b": "does not …",
    r"\bwhy_not_shared|cannot_share|finished_logits|lighten\w*": "see the table of names",
}
FIRST_LINE = re.compile(r"(?:What|Whether|How|Which|Where|Who|Why)\b")
ARGUMENT = re.compile(
    r"(?:Of|See there|Likewise|The same\.|Same\.|Any\.|Whether|What|How|Which|Where|In|As|By|From|For|To|With|Without|"
    r"All that|Those|That|Its|Likewise)\b"
)


class Hit(NamedTuple):
    """One place in the dialect.

    Attributes:
        file: Path relative to the repository's root.
        line: Number of the line, from 1.
        text: Name or phrase found.
        remedy: What to write instead.
    """

    file: str
    line: int
    text: str
    remedy: str


def words(name: str) -> str:
    """Identifier in snake case, without leading underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


def check_name(name: str) -> str | None:
    """What to write instead of an identifier; ``None`` if it is plain English."""
    snake = f"_{words(name)}_"
    for word, remedy in NAME_WORDS.items():
        if f"_{word}_" in snake:
            return remedy
    return "`near_duplicate`, `suggest`" if NEAR.search(words(name)) and "near_dup" not in snake else None


def check_text(text: str) -> Iterator[tuple[int, str, str]]:
    """Offset, text and remedy of each phrase in the dialect."""
    for pattern, remedy in PHRASES.items():
        for match in re.finditer(pattern, text):
            yield match.start(), match[0], remedy


def check_docstring(text: str) -> Iterator[tuple[int, str, str]]:
    """Offset, text and remedy of a first line or an argument's line that does not start with a noun or a verb."""
    if match := FIRST_LINE.match(text.lstrip()):
        yield 0, f"{match[0]} … (first line of a docstring)", "name what is returned or done"
    for block in re.finditer(r"^( *)(?:Args|Attributes):\n((?:\1 +.*\n|\n)*)", text + "\n", re.MULTILINE):
        inner = block[1] + "    "
        for line in re.finditer(rf"^{inner}\*{{0,2}}(\w+): (.*)", block[2], re.MULTILINE):
            if match := ARGUMENT.match(line[2]):
                yield block.start(2) + line.start(), f"{line[1]}: {match[0]} …", "start with a noun"


def is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """True for a property, whose name is that of a value."""
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def check_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """True if a function is named by a participle alone."""
    name = node.name.strip("_")
    participle = name in PARTICIPLES or (name.endswith("ed") and name not in ("embed", "seed", "need"))
    return participle and "_" not in name and not is_property(node)


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each definition, argument, assigned variable and assigned attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def check_python(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, text and remedy of each hit in a Python file."""
    tree = ast.parse(source)
    for line, name in identifiers(tree):
        if remedy := check_name(name):
            yield line, name, remedy
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.strip("_") in CLASS_NAMES:
            yield node.lineno, f"class {node.name}", "say what it is"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and check_function(node):
            yield node.lineno, f"def {node.name}", "a verb and an object"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            docstring = ast.get_docstring(node, clean=False) or ""
            for offset, text, remedy in check_docstring(docstring):
                yield node.body[0].lineno + docstring.count("\n", 0, offset), text, remedy
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for offset, text, remedy in check_text(node.value):
                yield node.lineno + node.value.count("\n", 0, offset), text, remedy
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            for _, text, remedy in check_text(token.string):
                yield token.start[0], text, remedy


def check_prose(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, text and remedy of each hit in Markdown, YAML or a template; code in backticks is left out."""
    blanked = re.sub(r"`[^`\n]*`", lambda match: "`" * len(match[0]), text)
    for offset, found, remedy in check_text(blanked):
        yield text.count("\n", 0, offset) + 1, found, remedy


def hits(root: Path = ROOT) -> list[Hit]:
    """Hits in the package, its recipes, benchmarks and documentation.

    Args:
        root: Folder of the repository.
    """
    places: list[Hit] = []
    for file in sorted({file for pattern in SOURCES for file in root.glob(pattern) if file.is_file()}):
        path = str(file.relative_to(root))
        if path.startswith("semalign_pl/configs/") or "/weights/" in path:
            continue
        text = file.read_text(encoding="utf-8")
        check = check_python if file.suffix == ".py" else check_prose
        if (remedy := check_name(file.stem)) or file.stem in FILE_NAMES:
            places.append(Hit(path, 1, file.name, remedy or "say what it is"))
        places += [Hit(path, *hit) for hit in check(text)]
    return places


def main(rooms: list[str]) -> None:
    """Print the hits of some rooms, such as ``cli`` or ``docs``, or of all, and their number per room."""
    counts: dict[str, int] = {}
    for hit in hits():
        names = hit.file.split("/")
        room = names[1] if names[0] == "semalign_pl" and len(names) > 1 else names[0]
        counts[room] = counts.get(room, 0) + 1
        if not rooms or room in rooms:
            print(f"{hit.file}:{hit.line}: {hit.text!r} → {hit.remedy}")
    print(", ".join(f"{room} {number}" for room, number in sorted(counts.items())), "all", sum(counts.values()))


if __name__ == "__main__":
    main(sys.argv[1:])

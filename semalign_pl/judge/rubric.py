"""Rubrics: the prompts of a judge, in YAML files that a user can edit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.documents import read_yaml
from semalign_pl.judge.question import ABSOLUTE, PAIRWISE, Question

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

FOLDER = Path(__file__).parent / "rubrics"
_COMMON = {"source", "reference", "language"}
_NEEDED = {"pairwise": {"first", "second"}, "absolute": {"text"}}
_KEYWORDS = {"pairwise": PAIRWISE[0], "absolute": ABSOLUTE[0]}


@dataclass(frozen=True)
class Rubric:
    """Prompts of a judge.

    Attributes:
        name: Name of a shipped rubric, or digest of the user's file.
        digest: Digest of the texts.
        system: System message; empty for none.
        pairwise: Jinja template that asks for the better of two texts; empty if the rubric has none.
        absolute: Jinja template that asks for a grade of one text; empty if the rubric has none.
        language: Language that the judge is told; empty for none.
        people: Text that tells native readers what to look for; empty for none.
    """

    name: str
    digest: str
    system: str
    pairwise: str = ""
    absolute: str = ""
    language: str = ""
    people: str = ""

    def compare(self, source: str, reference: str | None, first: str, second: str) -> Question:
        """Question about two texts.

        Args:
            source: Text that both are about.
            reference: Human answer, if there is one.
            first: Text that is shown first.
            second: Text that is shown second.

        Raises:
            ValueError: If the rubric does not compare.
        """
        return self._fill("pairwise", PAIRWISE, source, reference, first=first, second=second)

    def grade(self, source: str, reference: str | None, text: str) -> Question:
        """Question about one text.

        Args:
            source: Text that it is about.
            reference: Human answer, if there is one.
            text: Text to grade.

        Raises:
            ValueError: If the rubric does not grade.
        """
        return self._fill("absolute", ABSOLUTE, source, reference, text=text)

    def _fill(
        self, kind: str, asked: tuple[str, tuple[str, ...]], source: str, reference: str | None, **texts: str
    ) -> Question:
        template = {"pairwise": self.pairwise, "absolute": self.absolute}[kind]
        if not template:
            raise ValueError(f"rubric {self.name}: {kind}: missing; add it, as in {FOLDER / 'translation.yaml'}")
        fields = {"source": source, "reference": reference or "", "language": self.language, **texts}
        return Question(self.system, _environment().from_string(template).render(fields).strip(), *asked)


def read_rubric(option: str, name: str, language: str = "") -> Rubric:
    """Read a rubric.

    Args:
        option: Flag or YAML key, for the message.
        name: Name of a shipped rubric, or a YAML file.
        language: Language that the judge is told; empty for none.

    Raises:
        ValueError: If there is no such rubric, or its file is malformed; names file, key and remedy.
    """
    shipped = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise ValueError(
            f"{option}: there is no rubric {name!r}; take {' or '.join(shipped)}, or give a YAML file such as a "
            f"changed copy of {FOLDER / 'translation.yaml'}"
        )
    texts = read_yaml(path)
    if not isinstance(texts, dict):
        raise ValueError(f"{option}: {path}: has no keys; give system, pairwise and absolute")
    for key, value in texts.items():
        if key not in ("system", "people", *_NEEDED):
            raise ValueError(
                f"{option}: {path}: {key}: there is no such key; there are system, pairwise, absolute and people"
            )
        if not isinstance(value, str):
            raise ValueError(f"{option}: {path}: {key}: {value!r} is no text; write it after '|'")
        if key in _NEEDED:
            _check(f"{option}: {path}: {key}", key, value)
    if not any(texts.get(key, "").strip() for key in (*_NEEDED, "people")):
        raise ValueError(f"{option}: {path}: has none of pairwise, absolute and people; give one of them")
    filled = {key: texts.get(key, "").strip() for key in ("system", *_NEEDED)}
    digest = hashlib.sha256("\0".join([*filled.values(), language]).encode()).hexdigest()[:8]
    return Rubric(
        name if name in shipped else digest, digest, **filled, language=language, people=texts.get("people", "").strip()
    )


def _check(where: str, kind: str, template: str) -> None:
    """Refuse a template that is none, misses a field, names an unknown one, or does not ask for the verdict's line."""
    from jinja2 import TemplateError, meta

    try:
        names = meta.find_undeclared_variables(_environment().parse(template))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise ValueError(f"{where}: line {line} is no Jinja template ({error}); mend it") from error
    known = _COMMON | _NEEDED[kind]
    if unknown := sorted(names - known):
        raise ValueError(f"{where}: there is no field {unknown[0]}; there are {', '.join(sorted(known))}")
    if missing := sorted(_NEEDED[kind] - names):
        raise ValueError(f"{where}: has no {{{{ {missing[0]} }}}}; put it where the text goes")
    if f"{_KEYWORDS[kind]}:" not in template:
        raise ValueError(
            f"{where}: does not ask for a line with {_KEYWORDS[kind]}:, from which the verdict is read; see "
            f"{FOLDER / 'translation.yaml'}"
        )
    try:
        _environment().from_string(template).render(dict.fromkeys(known, "text"))
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: cannot be filled in ({error}); mend it") from error


def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)

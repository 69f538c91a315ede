"""Language identification by a fastText model, such as GlotLID (arXiv 2310.16248): stricter than a rule of scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from semalign_pl.messages.suggestion import suggest

HUB_FILE = "model.bin"
"""Name of the model's file in a hub repository, unless the id goes on with another."""
_PREFIX = "__label__"
_CHUNK = 2**22


@dataclass(frozen=True)
class Identification:
    """Language identification: a text is in the language if the model says so with enough probability.

    Attributes:
        model: File of a supervised fastText model; or hub id, such as ``cis-lmu/glotlid``, with the file's name after
            another slash if it is not ``model.bin``.
        label: Name of the language in the model, such as ``dzo_Tibt``.
        min_probability: Minimum probability of the label; above 0.5 no other label can be as probable.
    """

    model: str
    label: str
    min_probability: float = 0.5

    def __post_init__(self) -> None:
        for key, value in (("model", self.model), ("label", self.label)):
            if not isinstance(value, str) or not value:
                raise ValueError(f"identification: {key}: {value!r} is no text; give e.g. cis-lmu/glotlid and dzo_Tibt")
        check_probability(self.min_probability)

    def accepts(self, text: str) -> bool:
        """Return true if the model gives the label at least the minimum probability; white space counts as one space.

        Args:
            text: Text of one or more lines.

        Raises:
            ValueError: If the model cannot be loaded, or has no such label.
        """
        return f"{_PREFIX}{self.label}" in _load(self.model, self.label).predict(text, self.min_probability)

    @property
    def signature(self) -> str:
        """Every option that changes the result: the model's name and digest, the label and the probability."""
        digest = _load(self.model, self.label).digest
        return f"identified:{Path(self.model).name}#{digest}|label:{self.label}|min_p:{self.min_probability:g}"


@dataclass(frozen=True)
class _Model:
    """Loaded model: function from a text and a probability to the labels that have it, and digest of its file."""

    predict: Callable[[str, float], Sequence[str]]
    digest: str


@lru_cache(maxsize=4)
def _load(name: str, label: str) -> _Model:
    """Load a model, and check that it has the label."""
    model = _read(name)
    known = [one.removeprefix(_PREFIX) for one in model.predict("a", -1.0)]
    if label not in known:
        some = f"it has {len(known):,}, such as {', '.join(sorted(known)[:3])}"
        raise ValueError(f"identification: label: {name} has no {label!r}; {suggest(label, known, some)}")
    return model


@lru_cache(maxsize=2)
def _read(name: str) -> _Model:
    try:
        import fasttext
    except ModuleNotFoundError as error:
        raise ValueError(
            "identification: model: the package fasttext-predict is not installed; run `pip install "
            "'semalign-pl[glotlid]'`, or leave identification out"
        ) from error
    file = _find(name)
    try:
        loaded = fasttext.load_model(str(file))
        loaded.predict("a")
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ValueError(f"identification: model: {name} is no supervised fastText model ({error})") from error
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)

    def predict(text: str, least: float) -> Sequence[str]:
        return loaded.predict(" ".join(text.split()), k=-1, threshold=least)[0]

    return _Model(predict, digest.hexdigest()[:12])


def _find(name: str) -> Path:
    """Path of a model's file, downloaded once if it is on the hub."""
    if Path(name).is_file():
        return Path(name)
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    if owner and repository and not Path(owner).exists():
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(f"{owner}/{repository}", file or HUB_FILE))
        except Exception as error:  # its own kinds, and those of the network
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            raise ValueError(
                f"identification: model: {name} is neither a file nor can be read from the hub ({reason[:200]}); give "
                "a file, or run once with a network"
            ) from error
    raise ValueError(f"identification: model: there is no file {name}; give one, or a hub id such as cis-lmu/glotlid")


def check_probability(number: float) -> None:
    """Check the smallest probability of a language that is accepted.

    Args:
        number: Value of ``min_probability``.

    Raises:
        ValueError: If it is no number above 0 and up to 1.
    """
    if not isinstance(number, int | float) or not 0 < number <= 1:
        raise ValueError(f"identification: min_probability: {number!r} is not above 0 and up to 1; give e.g. 0.5")

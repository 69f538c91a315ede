"""Write the model card of an exported folder, in the form of the Hugging Face hub."""

from __future__ import annotations

import json
import shlex
import shutil
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from semalign_pl import __version__
from semalign_pl.card.facts import (
    PICTURE,
    describe_corpora,
    describe_scores,
    describe_settings,
    dig,
    find_languages,
    find_picture,
    read_base,
    read_optional,
    without_paths,
)
from semalign_pl.files.atomic import write_text
from semalign_pl.run.finished import ADAPTER, RECIPE, RESULTS, command_of_test, is_test_of, locate_path
from semalign_pl.types import Json

if TYPE_CHECKING:
    from jinja2 import Template

CARD = "README.md"
Kind = Literal["adapter", "model"]
_LORA = ("r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora")
_NOT_VLLM = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters")
"""Settings of adapters that vLLM does not serve."""
_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM's ``--max-lora-rank`` accepts (``vllm/config/lora.py``)."""


def write_card(
    folder: Path, kind: Kind, run: Path | None, base: str | None = None, repository: str | None = None
) -> None:
    """Write ``README.md`` of an exported folder, and copy the picture of the run's study to it if there is one.

    Args:
        folder: Folder with the weights, and with their ``training.json``.
        kind: ``adapter``, or ``model`` for base and adapter as one model.
        run: Folder of the run, from whose files the facts are read; ``None`` if it is not known.
        base: Hub id or folder of the base; by default that of the adapter's config.
        repository: Repository of the hub that the folder goes to; ``None`` for a local folder.

    Raises:
        ValueError: If a file of the run cannot be read.
        WriteError: If the card cannot be written.
    """
    picture = None if run is None else find_picture(run)
    if picture is not None:
        shutil.copyfile(picture, folder / PICTURE)
    write_text(folder / CARD, render_card(folder, kind, run, base, repository) + "\n")


def render_card(
    folder: Path, kind: Kind, run: Path | None, base: str | None = None, repository: str | None = None
) -> str:
    """Text of the card that `write_card` writes, from the same arguments."""
    training = read_optional(folder / "training.json")
    recipe = {} if run is None else read_optional(run / RECIPE)
    results, beside = ({}, {}) if run is None else _read_scores(run, recipe, training)
    lora = read_optional((folder if kind == "adapter" or run is None else run / ADAPTER) / "adapter_config.json")
    base = base or str(lora.get("base_model_name_or_path") or "its base")
    local = Path(base).is_dir() or Path(base).is_absolute()
    languages = find_languages(recipe)
    signatures = training.get("signatures")
    scores = describe_scores(results, beside)
    corpora = [] if run is None else describe_corpora(run, lambda name: locate_path(name, run, recipe))
    return _template().render(
        front=_front_matter(kind, None if local else base, languages, str(training.get("stage") or "")),
        title=(repository or (f"{Path(base).name}-{'-'.join(languages)}" if languages else Path(base).name)),
        kind=kind,
        base=Path(base).name if local else base,
        local=local,
        name=repository or "FOLDER",
        licence=_licence(base),
        languages=languages,
        stage=training.get("stage"),
        settings=describe_settings(recipe, training),
        lora=[(key, lora[key]) for key in _LORA if lora.get(key)],
        new_tokens=_count_new_tokens(lora),
        blend=training.get("blend"),
        quantised=dig(recipe, "model", "init_args", "weights") == "nf4",
        corpora=corpora,
        rewards=[without_paths(str(one)) for one in signatures] if isinstance(signatures, list) else [],
        scores=scores,
        lost=[row for row in scores if row["lost"] is not None],
        tested_rows=dig(results, "run", "rows"),
        command_of_test=None if run is None else shlex.join(command_of_test(Path("RUN"), recipe)),
        picture=PICTURE if run is not None and find_picture(run) else None,
        rank=_vllm_rank(lora),
        versions=training.get("versions") or {},
        version=__version__,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"cell": _cell, "number": _number}
    return environment.from_string(files("semalign_pl.card").joinpath("card.md.jinja").read_text(encoding="utf-8"))


def _read_scores(
    run: Path, recipe: dict[str, Json], training: dict[str, Json]
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Results of the trained adapter itself, and of the base beside it; empty for what was not tested.

    Args:
        run: Folder of the run.
        recipe: Settings of the training.
        training: ``training.json`` beside the weights; an export has one of its own.
    """
    own = read_optional(run / ADAPTER / "training.json") if "exported_from" in training else training
    results = read_optional(run / RESULTS)
    return (results, read_base(run, recipe, results)) if is_test_of(results, own) else ({}, {})


def _front_matter(kind: Kind, base: str | None, languages: list[str], stage: str) -> str:
    """Metadata that the hub reads, as YAML."""
    matter: dict[str, object] = {}
    if base is not None:
        matter |= {"base_model": base, "base_model_relation": "adapter" if kind == "adapter" else "finetune"}
    if languages:
        matter["language"] = sorted({code.partition("-")[0] for code in languages})  # ISO 639 alone
    if scripted := [code for code in languages if "-" in code]:
        matter["language_bcp47"] = scripted
    matter |= {"library_name": "peft" if kind == "adapter" else "transformers", "pipeline_tag": "text-generation"}
    matter["tags"] = ["semalign-pl", *(["lora"] if kind == "adapter" else []), *([stage] if stage else [])]
    return yaml.safe_dump(matter, allow_unicode=True, sort_keys=False).strip()


def _licence(base: str) -> str | None:
    """Licence of the base as its own card gives it; ``None`` if that card is not on this machine."""
    if Path(base).is_dir():
        card = Path(base) / CARD
    else:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(base, CARD)
        card = Path(found) if isinstance(found, str) else Path(CARD, "absent")
    if not card.is_file():
        return None
    sections = card.read_text(encoding="utf-8", errors="replace").split("---", 2)
    try:
        matter = yaml.safe_load(sections[1]) if len(sections) == 3 and not sections[0].strip() else None
    except yaml.YAMLError:
        return None
    licence = matter.get("license_name") or matter.get("license") if isinstance(matter, dict) else None
    return licence if isinstance(licence, str) else None


def _vllm_rank(lora: dict[str, Json]) -> int | None:
    """Value of vLLM's ``--max-lora-rank`` for an adapter; ``None`` if vLLM cannot serve it beside its base."""
    patterns = lora.get("rank_pattern")
    ranks = [lora.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    unfit = any(lora.get(key) for key in _NOT_VLLM)
    rank = max((one for one in ranks if isinstance(one, int)), default=0)
    return None if unfit or not rank else next((one for one in _VLLM_RANKS if one >= rank), None)


def _count_new_tokens(lora: dict[str, Json]) -> int:
    """Number of rows that an adapter trains for new tokens."""
    rows = lora.get("trainable_token_indices")
    lists = list(rows.values()) if isinstance(rows, dict) else [rows]
    return max((len(one) for one in lists if isinstance(one, list)), default=0)


def _cell(value: object) -> str:
    """Text of a table's cell in Markdown."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(without_paths(text).split()).replace("|", "\\|")


def _number(value: object) -> str:
    """Four significant digits of a number, with a minus sign but no negative zero; a dash for ``None``."""
    return "–" if not isinstance(value, int | float) else f"{value + 0.0:.4g}"

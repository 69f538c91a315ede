"""Dependencies of a study's step."""

from __future__ import annotations

import json
from collections.abc import Sequence

from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.judge.flags import make_parser
from semalign_pl.judge.rubric import read_rubric
from semalign_pl.run import grounds
from semalign_pl.run.digests import Digests
from semalign_pl.run.named_files import LOCAL, find_files
from semalign_pl.run.results import versions
from semalign_pl.study.protocol import Step


def collect(step: Step, settings: grounds.Settings, digests: Digests) -> grounds.Grounds:
    """Return the current dependencies of a step's result; see `run.grounds.collect`.

    Args:
        step: Step whose starting adapter, if any, exists already.
        settings: Settings returned by `parse`.
        digests: Digests of files.

    Raises:
        ValueError: If a file cannot be read.
    """
    return grounds.collect(step.command, settings, step.folder, step.adapter, digests)


def collect_translation(step: Step, digests: Digests) -> grounds.Grounds:
    """Return the current dependencies of translations: the texts, the adapter, and the recipe of its training.

    Args:
        step: Command ``translate``, whose adapter exists already.
        digests: Digests of files.
    """
    files = [*find_files(step.texts), *find_files(str(step.folder / "fit.yaml"))]
    found = {f"version {name}": version for name, version in versions().items()}
    found |= {"setting texts": step.texts} | {f"file {file}": digests.of(file) for file in files}
    return found | grounds.adapter_grounds(step.adapter, digests)


def collect_judge(step: Step, digests: Digests) -> grounds.Grounds:
    """Return the current dependencies of a judge's result: both systems' answers, flags, prompts, and a local model.

    The prompts count by their texts, because those of a shipped rubric may differ in another version of the package.

    Args:
        step: Command ``judge``.
        digests: Digests of files.

    Raises:
        ValueError: If there is no such rubric, or its file is malformed.
    """
    options = make_parser().parse_args([*step.args[1:]])
    models = [judge for judge in options.judge if judge.startswith(LOCAL)]
    files = [file for name in (*step.args[1:3], *models) for file in find_files(name)]
    rubric = read_rubric("--rubric", options.rubric, options.language)
    return {
        "setting flags": json.dumps(step.flags, ensure_ascii=False),
        "setting prompts": rubric.digest,
    } | {f"file {file}": digests.of(file) for file in files}


def parse(args: Sequence[str]) -> grounds.Settings:
    """Return the settings of a command, defaults included.

    Args:
        args: Name of the command, then its flags.

    Raises:
        UsageError: If the flags, or the config that they name, cannot be parsed.
    """
    return parse_recipe(args[1:], args[0]).settings.as_dict()

"""Check of a study's judges before anything is trained."""

from __future__ import annotations

from pathlib import Path

from semalign_pl.messages.errors import UsageError
from semalign_pl.study.protocol import steps
from semalign_pl.study.systems import Study


def check_judge(study: Study, where: str) -> None:
    """Refuse judges that cannot be asked, before hours of training: a missing key or package, or a wrong rubric.

    Args:
        study: Study; nothing is checked if it has no judge.
        where: File and key to name in messages.

    Raises:
        ValueError: If a judge, a flag or a rubric cannot be used; names it and the remedy.
    """
    if study.judge is None:
        return
    from semalign_pl.judge.endpoint import Endpoint, Sampling
    from semalign_pl.judge.flags import check_flags, make_parser
    from semalign_pl.judge.rubric import FOLDER, read_rubric
    from semalign_pl.messages.mistakes import summarise
    from semalign_pl.policy.causal_lm import check_folder

    step = next(one for one in steps(study, Path(), 1) if one.command == "judge")
    try:
        flags = check_flags(make_parser().parse_args([*step.args[1:]]))
        for name, spec in flags.judges.items():
            if spec.url:
                Endpoint(spec, flags.keys[name], Sampling(), name=name).prepare()
    except UsageError as error:
        raise ValueError(f"{where}.set: {summarise(str(error), error.keys, step.args)}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for spec in flags.judges.values():
        if not spec.url:
            check_folder(f"{where}.judges", spec.model)
    for rubric in dict.fromkeys(pair.rubric for pair in study.judge.pairs):
        if not read_rubric(f"{where}.pairs", rubric, study.judge.language).pairwise:
            raise ValueError(
                f"{where}.pairs: {rubric}: pairwise: missing, by which pairs are judged; add it, as in "
                f"{FOLDER / 'translation.yaml'}"
            )

"""Check of the metrics that callbacks monitor, before a run's first step."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.callbacks import CorpusReport, Evaluation, RewardWatch, TaxBudget
from semalign_pl.callbacks.watch_metrics import METRICS
from semalign_pl.modules import EmbedderModule, GRPOModule, SFTModule
from semalign_pl.probes.base import Probe
from semalign_pl.rewards import FunctionReward, SemanticReward
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.pair_reward import PairReward

_OWN = ("lightning", "semalign_pl")
_HOOKS = [name for name in vars(Callback) if name.startswith("on_")]
_RETRIEVAL = [
    f"{score}_{way}" for score in ("accuracy_at_1", "mrr") for way in ("source_to_target", "target_to_source")
]


def check_monitors(trainer: Trainer, module: LightningModule, data: Any) -> None:
    """Refuse a callback that monitors a metric, or uses it in file names, if nothing will log the metric.

    Nothing is refused if a callback or module of the user's own may log metrics: their names are known only in the run.

    Args:
        trainer: Trainer with the run's callbacks.
        module: Module to be trained.
        data: Data module of the run.

    Raises:
        ValueError: With a similar metric, or a list of the metrics.
    """
    callbacks: list[Any] = getattr(trainer, "callbacks", [])
    if type(module).__module__.split(".")[0] not in _OWN or any(map(_may_log, callbacks)):
        return
    known = sorted({*_of_module(module), *(name for callback in callbacks for name in _of_callback(callback, module))})
    validated = trainer.limit_val_batches != 0 and _has_validation(data)
    logged = [name for name in known if validated or not name.startswith("val/")]
    for key, name in (found for callback in callbacks for found in _monitored(callback)):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in (*logged, "epoch", "step")):
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in known):
            raise ValueError(
                f"trainer.callbacks: {key}: {name!r} is logged in validation, and there is none; set "
                "data.init_args.validation, or monitor a metric of training such as train/loss"
            )
        close = difflib.get_close_matches(name, logged, n=1, cutoff=0.5)
        there = f"did you mean {close[0]}?" if close else f"there is {', '.join(logged)}"
        raise ValueError(f"trainer.callbacks: {key}: nothing logs {name!r} during fit; {there}")


def _monitored(callback: Any) -> Iterator[tuple[str, str]]:
    name = type(callback).__name__
    if isinstance(monitor := getattr(callback, "monitor", None), str):
        yield f"{name}.monitor", monitor
    # Lightning writes 0 into a file's name for a metric that was not logged.
    for metric in re.findall(r"\{([^}:]+)", getattr(callback, "filename", None) or ""):
        yield f"{name}.filename", metric


def _may_log(callback: Any) -> bool:
    """Return true if a class of the user's own defines a hook, in which it may log any metric."""
    defined = {name: base for base in reversed(type(callback).__mro__) for name in vars(base)}
    return any(defined[hook].__module__.split(".")[0] not in _OWN for hook in _HOOKS if hook in defined)


def _has_validation(data: Any) -> bool:
    corpora = getattr(data, "corpora", None)
    return bool(corpora.get("validation")) if isinstance(corpora, dict) else True


def _of_module(module: Any) -> Iterator[str]:
    if isinstance(module, SFTModule):
        yield from _train("loss", "grad_norm", "completion_tokens", "rows_too_long", *_times("update"))
        yield from ("val/loss", "val/rows_too_long")
    elif isinstance(module, GRPOModule):
        yield from _train("reward", "reward_std", "completion_tokens", "ended_by_eos", "groups_without_signal")
        yield from _train("distinct_completions", "loss", "kl", "entropy", "clip_share", "grad_norm")
        reference = ["reference"] if module.beta > 0 else []
        yield from _train(*_times("rollout", "reward", *reference, "update"))
    elif isinstance(module, EmbedderModule):
        yield from _train("loss", "grad_norm", "pairs_left_out", "hard_negatives", "texts_at_max_seq_length")
        yield from _train("time/update_seconds", "time/update_share")
        yield from (f"val/{name}" for name in (*_RETRIEVAL, "margin", "discrimination", "alignment", "uniformity"))


def _of_callback(callback: Any, module: Any) -> Iterator[str]:
    if isinstance(callback, Evaluation):
        yield from (f"val/{name}" for name in callback.metrics)
    elif isinstance(callback, RewardWatch):
        yield from (f"watch/{name}" for name in (*METRICS, "alarms"))
    elif isinstance(callback, TaxBudget):
        yield from _train("beta", "budget_used")
    elif isinstance(callback, CorpusReport):
        yield from _train("time/data_seconds")
    elif isinstance(callback, Probe) and callback.every_n_steps is not None:
        yield "probe/*"
    elif isinstance(callback, Reward) and isinstance(module, GRPOModule):
        yield from _train(f"reward/{callback.name}", f"signal/{callback.name}")
        if isinstance(callback, SemanticReward):
            yield from _train("texts_cut_by_encoder", *(["tau"] if callback.calibration else []))
        elif isinstance(callback, PairReward):
            yield from _train(f"texts_cut_by_{callback.name}")
        elif isinstance(callback, FunctionReward):
            yield from _train(f"{callback.name}/*")


def _train(*names: str) -> Iterator[str]:
    return (f"train/{name}" for name in names)


def _times(*phases: str) -> Iterable[str]:
    return (f"time/{phase}_{unit}" for phase in phases for unit in ("seconds", "share", "tokens_per_second"))

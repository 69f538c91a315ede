"""Check of the metrics that callbacks monitor, before a run's first step."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.callbacks import CorpusReport, Evaluation, FrontierScore, RewardWatch, TaxBudget
from semalign_pl.callbacks.frontier_score import LOGGED, SCORE
from semalign_pl.callbacks.watch_metrics import METRICS
from semalign_pl.data import CorpusDataModule
from semalign_pl.functional.cost import less_is_better, names_direction
from semalign_pl.modules import AlignModule, DistillModule, EmbedderModule, GRPOModule, SFTModule
from semalign_pl.probes.base import Probe
from semalign_pl.rewards import FunctionReward, SemanticReward
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.pair_reward import PairReward
from semalign_pl.run.trainer import callbacks_of

_PACKAGES = ("lightning", "semalign_pl")
_HOOKS = [name for name in vars(Callback) if name.startswith("on_")]
_RETRIEVAL = [
    f"{score}_{way}" for score in ("accuracy_at_1", "mrr") for way in ("source_to_target", "target_to_source")
]


@runtime_checkable
class _Monitoring(Protocol):
    monitor: str | None


@runtime_checkable
class _Ranking(_Monitoring, Protocol):
    mode: str


@runtime_checkable
class _Naming(Protocol):
    filename: str | None


def check_monitors(trainer: Trainer, module: LightningModule, data: LightningDataModule | None) -> None:
    """Refuse a callback that monitors a metric in the wrong mode, or one that nothing will log, also in file names.

    If a callback or module of the user's own may log metrics, only the mode is checked: their names are known only in
    the run.

    Args:
        trainer: Trainer with the run's callbacks.
        module: Module to be trained.
        data: Data module of the run.

    Raises:
        ValueError: With a similar metric, or a list of the metrics.
    """
    callbacks = callbacks_of(trainer)
    metrics = sorted(
        {*_of_module(module, data), *(name for callback in callbacks for name in _of_callback(callback, module, data))}
    )
    for callback in callbacks:
        _check_mode(callback, metrics)
    if type(module).__module__.split(".")[0] not in _PACKAGES or any(map(_may_log, callbacks)):
        return
    validated = trainer.limit_val_batches != 0 and _has_validation(data)
    logged = [name for name in metrics if validated or not name.startswith(("val/", "frontier/"))]
    for key, name in (found for callback in callbacks for found in _monitors_of(callback)):
        if _is_among(name, (*logged, "epoch", "step")):
            continue
        if _is_among(name, metrics):
            raise ValueError(
                f"trainer.callbacks: {key}: {name!r} is logged in validation, and there is none; set "
                "data.init_args.validation, or monitor a metric of training such as train/loss"
            )
        close = difflib.get_close_matches(name, logged, n=1, cutoff=0.5)
        there = f"did you mean {close[0]}?" if close else f"there is {', '.join(logged)}"
        raise ValueError(f"trainer.callbacks: {key}: nothing logs {name!r} during fit; {there}")


def _monitors_of(callback: Callback) -> Iterator[tuple[str, str]]:
    """Key and metric, for each metric that a callback monitors or writes into file names."""
    name = type(callback).__name__
    if isinstance(callback, _Monitoring) and callback.monitor is not None:
        yield f"{name}.monitor", callback.monitor
    if isinstance(callback, _Naming):
        # Lightning writes 0 into a file's name for a metric that was not logged.
        for metric in re.findall(r"\{([^}:]+)", callback.filename or ""):
            yield f"{name}.filename", metric


def _check_mode(callback: Callback, metrics: Iterable[str]) -> None:
    """Refuse the mode that takes the worst value of a metric for the best; Lightning's default is ``min``."""
    if not isinstance(callback, _Ranking) or callback.monitor is None or not _is_among(callback.monitor, metrics):
        return
    _, *names = callback.monitor.split("/")
    name = names[-1]
    if len(names) > 1 or (callback.monitor != SCORE and not names_direction(name)):
        return  # a longer name has that of a corpus or a reward, which says no direction
    mode = "min" if less_is_better(name) else "max"
    if callback.mode != mode:
        raise ValueError(
            f"trainer.callbacks: {type(callback).__name__}.mode: {callback.mode} takes the worst {callback.monitor} "
            f"for the best; write mode: {mode}"
        )


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _may_log(callback: Callback) -> bool:
    """Return true if a class of the user's own defines a hook, in which it may log any metric."""
    defined = {name: base for base in reversed(type(callback).__mro__) for name in vars(base)}
    return any(defined[hook].__module__.split(".")[0] not in _PACKAGES for hook in _HOOKS if hook in defined)


def _has_validation(data: LightningDataModule | None) -> bool:
    """Return true if there is a validation corpus, or it cannot be known because the data module is the user's own."""
    return bool(data.corpora["validation"]) if isinstance(data, CorpusDataModule) else True


def _replays(data: LightningDataModule | None) -> bool:
    return isinstance(data, CorpusDataModule) and any(corpus.replay for corpus in data.corpora["train"])


def _of_module(module: LightningModule, data: LightningDataModule | None) -> Iterator[str]:
    if isinstance(module, SFTModule):
        yield from _train("loss", "grad_norm", "completion_tokens", "rows_too_long", *_times("update"))
        yield from _train("loss/*", "token_share/*")
        yield from _train(*_of_terms(module, ["reference_nll", *(["kl_to_*"] if module.beta > 0 else [])]))
        yield from ("val/loss", "val/loss/*", "val/bits_per_byte", "val/rows_too_long")
    elif isinstance(module, GRPOModule):
        yield from _train("reward", "reward_std", "completion_tokens", "ended_by_eos", "groups_without_signal")
        yield from _train("distinct_completions", "loss", "grad_norm", "loss/*", *_of_update(module, data))
        if module.loss_type == "cpo" or module.reference_nll_weight > 0 or _replays(data):
            yield from _train("references_too_long")
        reference = ["reference"] if module.beta > 0 else []
        yield from _train(*_times("rollout", "reward", *reference, "update"))
    elif isinstance(module, DistillModule):
        yield from _train("loss", "grad_norm", "completion_tokens", "ended_by_eos", "rows_too_long")
        shown = ["teacher_divergence"] if module.demonstration is not None else []
        plain = ["base_divergence"] if not shown or _replays(data) else []
        yield from _train(*_of_terms(module, shown + plain), *_times("rollout", "update"))
    elif isinstance(module, EmbedderModule):
        yield from _train("loss", "grad_norm", "pairs_left_out", "hard_negatives", "texts_at_max_seq_length")
        yield from _train("time/update_seconds", "time/update_share")
        yield from (f"val/{name}" for name in (*_RETRIEVAL, "margin", "discrimination", "alignment", "uniformity"))


def _of_update(module: GRPOModule, data: LightningDataModule | None) -> Iterator[str]:
    ranked = {"best_of_group": "best_nll", "cpo": "cpo_loss"}
    if module.loss_type not in ranked or module.beta > 0:
        yield from ("entropy", "clip_share")
    yield from ["kl"] if module.beta > 0 else ()
    if module.server is not None and module.corrects_sampler:
        yield from ("sampler_ratio", "sampler_truncated", "sampler_kl")
    if module.loss_type == "cpo":
        yield from ("preference_margin", "preference_accuracy")
    terms = [ranked.get(module.loss_type, "policy_loss")]
    terms += ["kl_loss"] if module.loss_type in ranked and module.beta > 0 else []
    terms += ["reference_nll"] if module.reference_nll_weight > 0 else []
    terms += ["replay_nll"] if _replays(data) else []
    yield from _of_terms(module, terms)
    yield from ["reference_nll_weight"] if module.reference_nll_schedule == "linear" else ()


def _of_terms(module: AlignModule, names: Sequence[str]) -> Iterator[str]:
    """Terms of the loss with the anchor's, which are logged if there are several, and the anchor's tokens."""
    anchor = ["anchor_kl"] if module.anchor_weight > 0 else []
    terms = [*names, *anchor]
    yield from terms if len(terms) > 1 else ()
    yield from ["anchor_tokens"] if anchor else ()


def _of_callback(callback: Callback, module: LightningModule, data: LightningDataModule | None) -> Iterator[str]:
    if isinstance(callback, Evaluation):
        tasks = data.corpus_names["validation"] if isinstance(data, CorpusDataModule) else []
        yield from (f"val/{of}{name}" for of in ("", *(f"{task}_" for task in tasks)) for name in callback.metrics)
    elif isinstance(callback, RewardWatch):
        yield from (f"watch/{name}" for name in (*METRICS, "alarms"))
    elif isinstance(callback, FrontierScore):
        yield from LOGGED
    elif isinstance(callback, TaxBudget):
        yield from _train("anchor_weight" if callback.steers == "anchor" else "beta", "budget_used")
    elif isinstance(callback, CorpusReport):
        yield from _train("time/data_seconds", "share/*")
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

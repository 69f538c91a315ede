"""Page before training: data, trained weights, steps, rewards of the starting policy, and the folder."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.callbacks.starting_samples import draw_samples
from semalign_pl.data.limits import KEYS
from semalign_pl.data.storing.cache import RowReport, summary
from semalign_pl.messages.page import lay_out
from semalign_pl.messages.terminal import visible
from semalign_pl.protocols import BatchedData, PreparedData
from semalign_pl.rewards.base import Reward
from semalign_pl.run.trainer import callbacks_of, count_steps, data_module_of


class PreRunPage(Callback):
    """Print what a fit is about to do, before its first step.

    These are: rows read, kept and dropped, with the limits that would keep 99 % of them; the share of the weights that
    is trained; the number of steps; the folder; and for a stage with rewards, their weights, and their values on eight
    completions of the starting policy, with the share of them that is in the wanted language. A resumed run does not
    sample.

    Training is not affected: it makes the same random draws, and logs the same values. A reward of your own that keeps
    a state of its own sees these completions, too.

    ``trainer.enable_model_summary: false`` turns the page off, and with it the summary after the run.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the page; rewards have tried their models and calibrated their thresholds by now."""
        if not trainer.is_global_zero:
            return
        rows = [*_data(trainer), *_model(pl_module), *_steps(trainer, pl_module)]
        rewards = [callback for callback in callbacks_of(trainer) if isinstance(callback, Reward)]
        if rewards:
            samples = None if trainer.global_step else draw_samples(trainer, pl_module, rewards)
            if samples is None:
                rows += [("rewards", f"{reward.name}: {_weight(reward)}") for reward in rewards]
            else:
                rows += [("rewards", line) for line in samples.lines(_weight)]
                rows += samples.findings(getattr(pl_module, "adapter", None))
        rows.append(("folder", str(trainer.default_root_dir)))
        print(visible(lay_out("before training", rows)), flush=True)


def _data(trainer: Trainer) -> Iterator[tuple[str, str]]:
    data = data_module_of(trainer)
    if isinstance(data, PreparedData):
        for corpus in data.prepared.get("train", ()):
            yield "data", summary(corpus.report)
            yield from (("data", line) for line in _limits(corpus.report))
        usable = sum(len(corpus.table) - corpus.unused for corpus in data.prepared.get("train", ()))
        if (used := len(data.examples["train"])) < usable:
            yield "data", f"{used:,} of them are trained on (data.init_args.limit and skip)"


def _limits(report: RowReport) -> Iterator[str]:
    """Limits that would keep 99 % of the rows, if rows were dropped or cut for their length."""
    for reason, limit in report.get("keeping", {}).items():
        if report["dropped"].get(reason) or (reason == "prompt_too_long" and report.get("prompts_cut")):
            yield f"{KEYS[reason]}: {limit} would keep 99 % of the rows whole"


def _model(module: LightningModule) -> Iterator[tuple[str, str]]:
    trained, weights = count_weights(module)
    start = getattr(module, "adapter", None)
    source = getattr(module, "base", type(module).__name__) + (f" with {start}" if start else "")
    yield "model", f"{source}; {_short(trained)} of {_short(weights)} weights are trained ({trained / weights:.2%})"


def count_weights(module: LightningModule) -> tuple[int, int]:
    """Numbers of trained weights and of all weights; those of the reference adapter do not count.

    Args:
        module: Module under training. Weights quantised to 4 bits are counted as they were before.
    """
    trained = total = 0
    for name, weight in module.named_parameters():
        # bitsandbytes packs two weights of 4 bits into a byte.
        count = weight.numel() * (2 * weight.element_size() if type(weight).__name__ == "Params4bit" else 1)
        total += 0 if ".reference." in name else count
        trained += count if weight.requires_grad else 0
    return trained, max(1, total)


def _short(count: int) -> str:
    """Count with three digits and its unit.

    >>> _short(950), _short(4_194_304), _short(4_022_000_000)
    ('950', '4.19 M', '4.02 B')
    """
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _steps(trainer: Trainer, module: LightningModule) -> Iterator[tuple[str, str]]:
    total, data = count_steps(trainer, module), data_module_of(trainer)
    text = "no fixed number" if total is None else f"{total:,}"
    if trainer.global_step:
        text += f", of which {trainer.global_step:,} are done"
    if isinstance(data, BatchedData):
        rows = data.batch_size * trainer.world_size
        generations = getattr(module, "num_generations", None)
        text += f"; {rows} rows per step" + (f", {generations} completions each" if generations else "")
    yield "steps", text


def _weight(reward: Reward) -> str:
    return "gate" if reward.gate else f"weight {reward.weight:g}"

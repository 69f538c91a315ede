"""Small training runs in several processes, set up like torchrun's, without the command line."""

from __future__ import annotations

import functools
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from helpers.run_callbacks import Strike
from helpers.small_runs import _free_port, forked, torchrun_environment
from helpers.tiny import fit, trained
from semalign_pl.callbacks import InterruptionCheckpoint
from semalign_pl.engine.pack import pack_rollouts
from semalign_pl.messages.errors import one_line
from semalign_pl.modules import AlignModule, Constant, GRPOModule, SFTModule
from semalign_pl.rewards import Reward
from semalign_pl.types import Example, Rollouts

KINDS = ("sft", "talr", "grpo", "replay")
TEXTS = (("书", "དགེ་རྒན་དེབ།"), ("老师看书。", "ག"), ("山", "རི"), ("学生在家里吃饭。", "ཁ་ལག"), ("水", "ཆུ།"))
EXAMPLES = [Example(str(i), zh, bo) for i, (zh, bo) in enumerate(TEXTS)]
REPLAYED = [Example("5", "书", "ག", replay=True), Example("6", "山", "དགེ་རྒན་དེབ།", replay=True)]


class Length(Reward):
    """Number of characters."""

    def score(self, *, completions: list[str], **_: Any) -> list[float]:
        """A score per completion."""
        return [len(text) / 10 for text in completions]


class SeededByExample(GRPOModule):
    """GRPO whose samples depend on the row and the step only, whichever process has the row."""

    def rollouts(self, batch: list[Example], num_generations: int, seed: int) -> Rollouts:
        """Sample each row with a seed of its own."""
        ids = []
        for example in batch:
            own = GRPOModule.rollouts(self, [example], num_generations, int(example.id) + 100 * self.global_step)
            lengths = own.completion_mask.sum(1).tolist()
            ids += [row[:length] for row, length in zip(own.completion_ids.tolist(), lengths, strict=True)]
        return pack_rollouts(self.policy, self.encode(batch), ids, num_generations)


def make(kind: str, base: str, adapter: str) -> AlignModule:
    """Module whose change of weights is its gradient, as plain SGD makes it."""
    sgd = functools.partial(torch.optim.SGD, lr=1.0)
    common: Any = {"weights": "fp32", "adapter": adapter, "optimizer": sgd, "lr_scheduler": Constant}
    common |= {"max_grad_norm": 1e9, "micro_batch_tokens": 90}
    if kind in ("grpo", "replay"):
        options: Any = {"num_generations": 3, "max_new_tokens": 6, "scale_rewards": "batch", "loss_type": "dapo"}
        return SeededByExample(base, **common, **options)
    return SFTModule(base, **common, max_new_tokens=10, token_weight="none" if kind == "sft" else "talr")


def batches(kind: str, rank: int = 0, ranks: int = 1) -> list[list[Example]]:
    """Two batches, with a reference that is too long: SFT's of five rows, GRPO's of three, and replayed rows.

    With four processes, one has no rollouts.
    """
    rows = {"grpo": EXAMPLES[:3], "replay": [*EXAMPLES[:3], *REPLAYED]}.get(kind, EXAMPLES)
    return [rows[rank::ranks]] * 2


def train(kind: str, base: str, adapter: str, rank: int = 0, ranks: int = 1, **options: Any) -> dict[str, Any]:
    """Train, and return the weights, and the logged values of the last step but times."""
    module = make(kind, base, adapter)
    parallel = {"devices": ranks, "strategy": "ddp", "use_distributed_sampler": False} if ranks > 1 else {}
    rewards = [Length()] if isinstance(module, GRPOModule) else []
    more = options.pop("callbacks", [])
    trainer = fit(module, batches(kind, rank, ranks), [*rewards, *more], **parallel, **options)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if "/time/" not in name}
    weights = {name: weight.detach().clone() for name, weight in trained(module.policy).items()}
    return {"weights": weights, "logged": logged}


def work(rank: int, ranks: int, port: int, base: str, adapter: str, folder: str) -> None:
    """Train each kind and save the result; then train SFT until the last process is killed."""
    file = os.open(Path(folder, f"rank{rank}.log"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(torchrun_environment(rank, ranks, port))
    sys.argv = ["semalign"]
    torch.set_num_threads(1)
    for kind in KINDS:
        torch.save(train(kind, base, adapter, rank, ranks), Path(folder, f"{kind}{rank}.pt"))
    print("-- all are trained", flush=True)
    with one_line() as status:
        callbacks = [InterruptionCheckpoint(), Strike(2, "SIGKILL", "on_before_optimizer_step", rank=ranks - 1)]
        train("sft", base, adapter, rank, ranks, callbacks=callbacks, default_root_dir=folder)
    sys.exit(status.code)


def run(ranks: int, base: str, adapter: str, folder: Path) -> tuple[list[int], float]:
    """Run ``work`` in as many processes.

    Returns:
        Exit status of each, and the seconds from the first end to the last one.
    """
    port = _free_port()
    started = [forked(work, (rank, ranks, port, base, adapter, str(folder))) for rank in range(ranks)]
    started[-1].join(600)
    begun = time.monotonic()
    for process in started:
        process.join(120)
        process.kill()
        process.join()
    return [process.exitcode for process in started], time.monotonic() - begun

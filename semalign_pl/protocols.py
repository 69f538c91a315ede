"""Contracts of an extension: the members that a callback may rely on, of a module, a data module or another callback.

A module or data module of your own works with a callback of this package if it has the members that the callback's
protocol names; no base class is needed. A callback of your own tests a protocol with ``isinstance``. Such a test sees
properties and plain attributes. Declare a member that is an ``nn.Module``, such as a policy, as a property: since
Python 3.12 the test does not see submodules, which torch keeps elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeGuard, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.policy.policy import Policy
from semalign_pl.types import Example, MetricResult, PredictionOutputs, Rollouts, StepOutputs

# -- modules -----------------------------------------------------------------------------------------------------------


@runtime_checkable
class PolicyModule(Protocol):
    """Module with a policy: what a Probe measures."""

    @property
    def policy(self) -> Policy:
        """Policy under training or test, loaded by ``configure_model``."""
        ...


@runtime_checkable
class GeneratingModule(PolicyModule, Protocol):
    """Module whose completions Evaluation scores; its evaluation steps return ``PredictionOutputs``.

    Attributes:
        max_new_tokens: Maximum number of tokens per completion.
        adapter: PEFT folder of the tested adapter; ``None`` for the base model.
        seed: Seed of the run.
    """

    max_new_tokens: int
    adapter: str | None
    seed: int


@runtime_checkable
class SamplingModule(Protocol):
    """Module that samples completions as in training: what the calibration of tau needs.

    Attributes:
        seed: Seed of the run.
    """

    seed: int

    def rollouts(self, batch: list[Example], num_generations: int, seed: int) -> Rollouts:
        """Sample completions.

        Args:
            batch: Examples with prompts.
            num_generations: Number of completions per prompt.
            seed: Seed of the sampling.
        """
        ...


@runtime_checkable
class KLModule(Protocol):
    """Module with a KL penalty: what TaxBudget steers.

    Attributes:
        beta: Weight of the KL to the reference policy; a callback may set it between two steps.
    """

    beta: float


@runtime_checkable
class AnchoredModule(Protocol):
    """Module with an anchor to its base: what TaxBudget steers with ``steers: anchor``.

    Attributes:
        anchor_weight: Weight of the anchor, 0 without one; a callback may set it between two steps.
    """

    anchor_weight: float


@runtime_checkable
class ExportableModule(Protocol):
    """Module whose result Export writes.

    Attributes:
        stage: Name of the stage, such as ``sft``.
        seed: Seed of the run.
    """

    stage: str
    seed: int

    def export(self, root: Path) -> Path:
        """Write the trained weights as a plain folder.

        Args:
            root: Folder to write to.

        Returns:
            Folder of the result, directly in ``root``.
        """
        ...


@runtime_checkable
class ScaledModule(Protocol):
    """Module whose policy starts from a saved adapter, whole or scaled.

    Attributes:
        adapter: PEFT folder of the adapter; ``None`` for a new adapter.
        adapter_scale: Scale of the adapter's update, between 0 and 1.
        scale_from: Start of the scale: ``base``, ``start`` or a PEFT folder.
    """

    adapter: str | None
    adapter_scale: float
    scale_from: str


def has_rollouts(outputs: STEP_OUTPUT) -> TypeGuard[StepOutputs]:
    """Return true if a training step sampled completions, so that its result has the members of ``StepOutputs``.

    Args:
        outputs: Result of the training step.
    """
    return isinstance(outputs, Mapping) and "rollouts" in outputs


def has_predictions(outputs: object) -> TypeGuard[PredictionOutputs]:
    """Return true if an evaluation step completed a batch, so that its result has the members of ``PredictionOutputs``.

    Args:
        outputs: Result of the validation, test or predict step.
    """
    return isinstance(outputs, Mapping) and "predictions" in outputs


# -- data modules ------------------------------------------------------------------------------------------------------


@runtime_checkable
class TakesEncoder(Protocol):
    """Data module that tokenises rows before training, as CorpusDataModule does."""

    def connect(
        self, encoder: PromptEncoder, max_prompt_tokens: int, max_new_tokens: int, trains_references: bool
    ) -> None:
        """Take the encoder of a policy and the limits on lengths in tokens."""
        ...


@runtime_checkable
class ExampleData(Protocol):
    """Data module whose examples callbacks may read, for example to try a reward's model on a sample."""

    @property
    def examples(self) -> Mapping[str, Sequence[Example]]:
        """Examples by split (``train``, ``validation``, ``test``), once ``setup`` has read them."""
        ...


@runtime_checkable
class PreparedData(ExampleData, Protocol):
    """Data module whose cleaning CorpusReport reports."""

    @property
    def prepared(self) -> Mapping[str, Sequence[Prepared]]:
        """Prepared corpora by split, each with the report of its rows."""
        ...


@runtime_checkable
class MixedData(Protocol):
    """Data module with mixes of corpora, whose shares and losses are logged per corpus."""

    @property
    def corpus_names(self) -> Mapping[str, Sequence[str]]:
        """Names of the corpora by split, the values of ``Example.corpus``; none for a split that is no mix."""
        ...


@runtime_checkable
class BatchedData(Protocol):
    """Data module with a fixed batch size, so that a run resumes at the right row.

    Attributes:
        batch_size: Number of training rows per batch and process.
    """

    batch_size: int


# -- callbacks ---------------------------------------------------------------------------------------------------------


@runtime_checkable
class ProbeListener(Protocol):
    """Callback that acts on the measurements of probes during training, such as TaxBudget."""

    def on_probe_end(self, trainer: Trainer, pl_module: LightningModule, scores: dict[str, MetricResult]) -> None:
        """Act on a measurement, after a batch, or when training resumes if an interruption prevented it.

        Args:
            trainer: Trainer of the run.
            pl_module: Module under training.
            scores: Scores of the probe, by name.
        """
        ...


@runtime_checkable
class SignedCallback(Protocol):
    """Callback whose options Export records in ``training.json``, such as a reward."""

    @property
    def signature(self) -> str:
        """Every option that changes the callback's result, as ``key:value`` joined by ``|``."""
        ...


def missing_members(callback: str, module: LightningModule, members: str) -> ValueError:
    """Error for a callback whose module lacks members of its protocol.

    Args:
        callback: Class name of the callback.
        module: Module of the run.
        members: Members that the module needs, for the message.

    Returns:
        The error to raise.
    """
    return ValueError(
        f"trainer.callbacks: {callback} needs a module with {members}, and {type(module).__name__} lacks it; leave the "
        "callback out, or see semalign_pl/protocols.py for what a module of your own must have"
    )

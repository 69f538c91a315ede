"""Base of stages that train a sentence encoder: the encoder, its metrics, checkpoints, and export."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.nn.modules.module import _IncompatibleKeys

from semalign_pl.encoder.sentence_encoder import check_activations
from semalign_pl.files.atomic import replace_folder
from semalign_pl.finite import check_finite, check_to_write
from semalign_pl.metrics.retrieval import Retrieval
from semalign_pl.modules.schedule import Cosine, ScheduleCallable
from semalign_pl.modules.stage import StageModule, check_counts
from semalign_pl.policy.adapter import fingerprint
from semalign_pl.policy.causal_lm import LOAD_ERRORS, check_folder, load_reason
from semalign_pl.run.results import read_training, write_results
from semalign_pl.run.trainer import may_write
from semalign_pl.types import Example

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

NO_TEXT = "predict: an encoder writes no text; use `semalign test` for its scores"


class EncoderModule(StageModule):
    """Stage that trains a sentence encoder; subclasses implement ``training_step``.

    Validation logs retrieval metrics under ``val/``: the source of each pair is to find its reference among those of
    all pairs, and the reference its source. A test prints a table of the same metrics and writes it to
    ``RUN/results.json``, each with confidence interval and signature.

    Args:
        base: Hub id or folder of a SentenceTransformer, or of any other transformers encoder, which gets mean pooling
            and embeddings of length 1.
        max_seq_length: Maximum number of tokens per text; longer texts are cut. By default the maximum of `base`.
        micro_batch: Number of texts that are embedded at once; lower it to save memory, results stay the same.
        optimizer: Optimiser of all weights (float32).
        lr_scheduler: Learning-rate schedule, stepped once per optimiser step. It gets the number of steps of the run if
            it has a parameter for it (total_steps, …).
        max_grad_norm: Maximum gradient norm; larger gradients are clipped to it.
        seed: Seed of new weights and dropout; the CLI sets it from seed_everything.
    """

    resume_hint = "To go on from another run's encoder, give its folder: --model.init_args.base RUN/encoder"

    def __init__(
        self,
        base: str,
        max_seq_length: int | None = None,
        micro_batch: int = 64,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: ScheduleCallable = Cosine,
        max_grad_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, max_grad_norm, seed)
        check_counts(micro_batch=micro_batch)
        self.base, self.max_seq_length, self.micro_batch = base, max_seq_length, micro_batch
        self._encoder: SentenceTransformer | None = None
        self._retrieval = Retrieval()
        self._started = 0.0

    @property
    def encoder(self) -> SentenceTransformer:
        """Encoder under training, loaded by ``configure_model``."""
        assert self._encoder is not None, "the encoder is loaded by configure_model, which a Trainer calls"
        return self._encoder

    def configure_model(self) -> None:
        """Load the encoder onto the strategy's device; later calls do nothing.

        Raises:
            ValueError: If the encoder cannot be loaded, the strategy shards the model, or the trainer has a precision
                or callback that is refused.
        """
        if self._encoder is None:
            with self.setting_up() as device:
                self._encoder = load_encoder(self.base, self.max_seq_length).to(device)

    # -- validation and test -----------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Reset the retrieval metrics."""
        self._retrieval.reset()

    def validation_step(self, batch: list[Example], batch_idx: int) -> None:
        """Embed a batch and add it to the retrieval metrics."""
        self._embed_and_add(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the retrieval metrics of all pairs."""
        for name, value in self._retrieval.compute().items():
            self.log(f"val/{name}", value, prog_bar=name == "margin")

    def on_test_epoch_start(self) -> None:
        """Reset the retrieval metrics and start the timer."""
        self._retrieval.reset()
        self._started = time.monotonic()

    def test_step(self, batch: list[Example], batch_idx: int) -> None:
        """Embed a batch and add it to the retrieval metrics."""
        self._embed_and_add(batch)

    def on_test_end(self) -> None:
        """Compute the retrieval metrics of all pairs, write them to ``results.json`` and print them."""
        digest = fingerprint(self.state_dict())[:8]
        encoder = f"encoder:{Path(self.base).name}@{digest}|max_tokens:{self.encoder.max_seq_length}"
        scores = {
            name: dataclasses.replace(score, signature=f"{score.signature}|{encoder}")
            for name, score in self._retrieval.score().items()
        }
        if self.trainer.is_global_zero:
            run = {"seed": self.seed, "seconds": time.monotonic() - self._started, "trained": read_training(self.base)}
            folder = Path(self.trainer.default_root_dir) if may_write(self.trainer) else None
            write_results(folder, scores, run)

    def predict_step(self, batch: list[Example], batch_idx: int) -> None:
        """Refuse ``semalign predict``: an encoder generates no text.

        Raises:
            ValueError: Always.
        """
        raise ValueError(NO_TEXT)

    def _embed_and_add(self, batch: list[Example]) -> None:
        sources, references = [e.source for e in batch], [e.reference for e in batch]
        vectors = self.encoder.encode(
            [*sources, *references], batch_size=self.micro_batch, convert_to_tensor=True, show_progress_bar=False
        )
        vectors = torch.nn.functional.normalize(vectors.float(), dim=-1)
        self._retrieval.update(sources, references, vectors[: len(batch)], vectors[len(batch) :])

    # -- checkpoints and result --------------------------------------------------------------------------------

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Weights of the encoder, with its own names as keys."""
        return {} if self._encoder is None else self._encoder.state_dict()

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Load a checkpoint's weights; keys must match exactly.

        Args:
            state_dict: Weights, as ``state_dict`` returns them.
            strict: Argument of torch that is not used: the match is always strict.
            assign: Argument of torch that is not used.

        Raises:
            ValueError: If the checkpoint belongs to another encoder.
        """
        here = self.state_dict()
        unequal = sorted(set(here) ^ set(state_dict)) or [
            key for key in here if here[key].shape != state_dict[key].shape
        ]
        if unequal:
            raise ValueError(
                f"--ckpt_path: {len(unequal)} tensors of the checkpoint do not fit this encoder (first: {unequal[0]}); "
                "resume with the same model.init_args.base that the run began with"
            )
        return self.encoder.load_state_dict(state_dict)

    def export(self, root: Path) -> Path:
        """Write a plain SentenceTransformer to ``root/encoder``, for SemanticReward, Evaluation or any other program.

        Args:
            root: Folder of the run.

        Returns:
            Folder of the encoder.

        Raises:
            ValueError: If the weights are not finite.
            WriteError: If the folder cannot be written; the old one is unchanged.
        """
        check_to_write(self.state_dict(), str(root / "encoder"))
        with replace_folder(root / "encoder") as folder:
            self.encoder.save(str(folder), create_model_card=False)
        return root / "encoder"


def load_encoder(base: str, max_seq_length: int | None) -> SentenceTransformer:
    """Load an encoder to train, in float32.

    Args:
        base: Hub id or folder of a SentenceTransformer or of a transformers encoder.
        max_seq_length: Maximum number of tokens per text; ``None`` for the encoder's own maximum.

    Returns:
        Encoder on the CPU; one that is no SentenceTransformer gets mean pooling and normalisation.

    Raises:
        ValueError: If the encoder cannot be loaded, has weights that are not finite, or cannot read that many tokens.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from sentence_transformers.util import is_sentence_transformer_model

    check_folder("model.init_args.base", base)
    try:
        if is_sentence_transformer_model(base):
            check_activations(base)
            encoder = SentenceTransformer(base, device="cpu", trust_remote_code=False)
        else:
            trust = {"trust_remote_code": False}
            body = Transformer(base, model_kwargs=trust, processor_kwargs=trust, config_kwargs=trust)
            pooling = Pooling(body.get_embedding_dimension(), pooling_mode="mean")
            encoder = SentenceTransformer(modules=[body, pooling, Normalize()], device="cpu")
    except LOAD_ERRORS as error:
        raise ValueError(
            f"model.init_args.base: cannot load {base!r} as an encoder: {load_reason(error)} Give a folder that "
            "holds a SentenceTransformer, or config.json, tokenizer and weights, or a hub id that this machine can "
            "reach."
        ) from error
    check_finite(encoder.state_dict(), f"model.init_args.base: {base} holds", "its run diverged; give another encoder")
    if max_seq_length is not None:
        longest = encoder.max_seq_length
        if longest is None or math.isinf(longest):
            raise ValueError(f"model.init_args.max_seq_length: {base} reads texts of any length; leave it out")
        if not 1 <= max_seq_length <= longest:
            raise ValueError(
                f"model.init_args.max_seq_length: {max_seq_length} tokens, and {base} reads 1 to {longest}; give a "
                "number in that range, or leave it out"
            )
        encoder.max_seq_length = max_seq_length
    return encoder.float().train()  # loaded in eval mode, which Lightning would keep

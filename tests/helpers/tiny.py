"""Helpers for tests of policy and modules: an adapter with an effect, and plain unpadded log-probs to compare with."""

import warnings

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from semalign_pl.modules import AlignModule
from semalign_pl.policy.policy import Policy
from semalign_pl.types import Example

CPU = torch.device("cpu")


def stir(policy: Policy, seed: int, scale: float = 0.1) -> Policy:
    """Move the trained adapter from its values, so that its logits differ and are far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if ".default." in name:
                # Lightning makes CUDA the default device while a module is configured.
                noise = torch.randn(weight.shape, generator=generator, device="cpu")
                weight.add_(noise.to(weight.device), alpha=scale)
    return policy


def trained(policy: Policy) -> dict[str, Tensor]:
    """Trainable weights by name."""
    return {name: weight for name, weight in policy.named_parameters() if weight.requires_grad}


def gradient(policy: Policy) -> Tensor:
    """Gradient of all trainable weights as one vector; zeros for weights without a gradient."""
    weights = trained(policy).values()
    return torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in weights])


def plain_logps(model, prompt: list[int], completion: list[int], temperature: float = 1.0) -> Tensor:
    """Log-probs ``(tokens,)`` of one completion by one forward pass over the whole sequence: no padding, no options."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return (logits.float() / temperature).log_softmax(-1)[range(len(completion)), completion]


def relative(a: Tensor, b: Tensor) -> float:
    """Norm of the difference divided by the norm of the second."""
    return ((a - b).norm() / b.norm()).item()


class Batches(LightningDataModule):
    """Data module with batches of examples from memory."""

    def __init__(self, batches: list[list[Example]]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None, collate_fn=lambda batch: batch)

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch


def fit(
    module: AlignModule, batches: list[list[Example]], callbacks=(), accelerator="cpu", devices=1, **options
) -> Trainer:
    """Train one epoch in this process, without writing anything."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(
        accelerator=accelerator, devices=devices, max_epochs=1, callbacks=list(callbacks), **quiet, **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, datamodule=Batches(batches))
    return trainer


class Recorded:
    """Mixin for a module: changes its policy after loading, and records the input of each update.

    Attributes:
        stirred: Size of the random change of the trained adapter after loading.
        gradients: Gradient of each update, before clipping.
        weights: Trained weights before each update, by name.
    """

    stirred = 0.0

    def configure_model(self) -> None:
        loaded = self._policy is not None
        super().configure_model()
        if not loaded:
            stir(self.policy, seed=2, scale=self.stirred)
            self.gradients, self.weights = [], []

    def update(self) -> Tensor:
        self.gradients.append(gradient(self.policy))
        self.weights.append({name: weight.detach().clone() for name, weight in trained(self.policy).items()})
        return super().update()

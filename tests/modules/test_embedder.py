"""Contrastive loss and its cached gradient, against plain ones."""

from __future__ import annotations

import functools

import pytest
import torch
from helpers.pairs import PAIRS
from helpers.tiny import fit
from torch import Tensor
from torch.nn import functional as F

from semalign_pl.modules import Constant, EmbedderModule
from semalign_pl.modules.negatives import HardNegatives, distinct
from semalign_pl.types import Example


def examples(*rows: int) -> list[Example]:
    return [Example(str(i), PAIRS[i]["zh"], PAIRS[i]["bo"], source=PAIRS[i]["zh"]) for i in rows]


BATCH = examples(0, 5, 10, 17, 22, 31, 47)


class Recording(EmbedderModule):
    """Module that records the gradient of each update and the weights before it."""

    def update(self) -> Tensor:
        self.gradient = torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in self.parameters()]
        )
        self.before = {name: weight.clone() for name, weight in self.encoder.state_dict().items()}
        return super().update()


def step(base: str, batch: list[Example] = BATCH, kind=None, **options) -> tuple[Recording, float]:
    """Train one step of SGD on one batch; return the module and the loss that it logged."""
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    module = (kind or Recording)(base, sgd, **{"lr_scheduler": Constant, "max_grad_norm": 1e9, **options})
    trainer = fit(module, [batch])
    return module, float(trainer.logged_metrics["train/loss"])


def info_nce(vectors: Tensor, temperature: float, negatives: int = 0) -> Tensor:
    """InfoNCE in both directions, written out: a source against all references, a reference against all sources."""
    pairs = (len(vectors) - negatives) // 2
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    sources, references, texts = unit[:pairs], unit[pairs : 2 * pairs], unit[pairs:]
    losses = []
    for i in range(pairs):
        there = torch.stack([(sources[i] @ text / temperature).exp() for text in texts])
        back = torch.stack([(references[i] @ source / temperature).exp() for source in sources])
        losses += [-(there[i] / there.sum()).log(), -(back[i] / back.sum()).log()]
    return torch.stack(losses).mean()


def plain(
    module: Recording, texts: list[str], temperature: float = 0.05, negatives: int = 0, back: Tensor | None = None
) -> tuple[float, Tensor]:
    """Loss and gradient by one backward pass through all texts at once, at the weights before the update."""
    encoder = module.encoder
    encoder.load_state_dict(module.before)
    vectors = encoder.train()(encoder.preprocess(texts))["sentence_embedding"]
    vectors = vectors if back is None else vectors[back]
    loss = info_nce(vectors, temperature, negatives)
    weights = list(encoder.parameters())
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    return loss.item(), torch.cat(
        [(torch.zeros_like(w) if g is None else g).flatten() for w, g in zip(weights, gradients, strict=True)]
    )


def texts_of(batch: list[Example]) -> list[str]:
    return [*(e.source for e in batch), *(e.reference for e in batch)]


@pytest.mark.parametrize("micro_batch", [1, 3, 14, 64])
def test_loss_and_gradient_are_the_plain_ones_for_every_micro_batch(still, micro_batch):
    module, loss = step(still, micro_batch=micro_batch, temperature=0.1)
    wanted, gradient = plain(module, texts_of(BATCH), 0.1)
    assert loss == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(module.gradient, gradient, rtol=1e-3, atol=1e-5)
    assert gradient.norm() > 0.1


def test_vectors_of_tokens_without_any_layer_train_too(tokenizer, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    folder = str(tmp_path / "static")
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu").save(folder)
    module, loss = step(folder, micro_batch=4)
    wanted, gradient = plain(module, texts_of(BATCH))
    assert loss == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(module.gradient, gradient, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="reads texts of any length; leave it out"):
        step(folder, max_seq_length=12)


def test_both_forwards_draw_the_same_dropout(encoder):
    """One micro-batch: if its second forward dropped other units, the gradient would belong to another loss."""

    class Seeded(Recording):
        def _embed(self, features, seed):
            self.seeds = [*getattr(self, "seeds", []), seed]
            return super()._embed(features, seed)

    module, loss = step(encoder, kind=Seeded)
    # The module groups texts of similar length, and dropout depends on the position in the batch.
    texts = texts_of(BATCH)
    order = torch.tensor(sorted(range(14), key=lambda i: (i >= 7, len(texts[i]))))
    for seed, same in ((module.seeds[0], True), (module.seeds[0] + 1, False)):
        torch.manual_seed(seed)
        wanted, gradient = plain(module, [texts[i] for i in order], back=order.argsort())
        assert (loss == pytest.approx(wanted, rel=1e-5)) == same
        assert torch.allclose(module.gradient, gradient, rtol=1e-3, atol=1e-5) == same


def test_a_repeated_text_is_no_wrong_answer(still):
    """A source with another reference, a reference with another source, and a duplicate pair change nothing."""
    source, reference = BATCH[0].source, BATCH[1].reference
    repeated = [
        *BATCH,
        Example("a", source, "གཞན།", source=source),
        Example("b", "别的", reference, source="别的"),
        BATCH[2],
    ]
    assert distinct(repeated) == BATCH
    module, loss = step(still, repeated)
    other, wanted = step(still)
    assert loss == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(module.gradient, other.gradient)
    assert module._trainer.logged_metrics["train/pairs_left_out"] == 3


def test_training_in_bfloat16_keeps_float32_weights_and_compares_in_float32(still):
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    module = Recording(still, sgd, lr_scheduler=Constant, max_grad_norm=1e9, temperature=0.1)
    trainer = fit(module, [BATCH], precision="bf16-mixed")
    wanted, gradient = plain(module, texts_of(BATCH), 0.1)
    assert all(weight.dtype == torch.float32 for weight in module.encoder.parameters())
    assert float(trainer.logged_metrics["train/loss"]) == pytest.approx(wanted, rel=0.02)
    assert F.cosine_similarity(module.gradient, gradient, dim=0) > 0.99


def test_hard_negatives_enter_the_loss(still, monkeypatch):
    negatives = [PAIRS[i]["bo"] for i in (3, 4, 6)]
    monkeypatch.setattr(HardNegatives, "of", lambda self, pairs: negatives)
    module = Recording(
        still, functools.partial(torch.optim.SGD, lr=0.1), lr_scheduler=Constant, max_grad_norm=1e9, micro_batch=4
    )
    module._mined = HardNegatives(BATCH, 1, 0.05)
    module.on_train_epoch_start = lambda: None
    trainer = fit(module, [BATCH])
    wanted, gradient = plain(module, texts_of(BATCH) + negatives, 0.05, negatives=3)
    assert float(trainer.logged_metrics["train/loss"]) == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(module.gradient, gradient, rtol=1e-3, atol=1e-5)


def test_a_checkpoint_of_another_encoder_is_refused(still) -> None:
    module, _ = step(still)
    state = dict(module.state_dict())
    name, weight = state.popitem()
    for odd in (state, {**state, name: weight[:-1]}):
        with pytest.raises(ValueError, match=f"--ckpt_path: 1 tensors .* do not fit this encoder .first: {name}"):
            module.load_state_dict(odd)

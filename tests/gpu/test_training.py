"""Training steps on CUDA: losses and gradients of the CPU, mixed precision, recomputation, randomness of a step."""

import functools

import pytest
import torch
from helpers.tiny import CPU, Recorded, fit, gradient, relative, stir, trained

from semalign_pl.engine.logprobs import LogprobScorer, compute_logprobs
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.functional.losses import nll_sum
from semalign_pl.modules import Constant, GRPOModule, SFTModule
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.rewards import Reward
from semalign_pl.types import Example

PAIRS = [("书", "དེབ"), ("老师看书。", "ག"), ("山", "རི"), ("学生在家里吃饭。", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།")]
EXAMPLES = [Example(str(i), zh, bo, {"zh": zh}) for i, (zh, bo) in enumerate(PAIRS)]
BATCHES = [EXAMPLES, EXAMPLES[::-1], EXAMPLES[:3]]
SGD = functools.partial(torch.optim.SGD, lr=0.5)
LOGGED = ("loss", "grad_norm", "kl", "entropy", "clip_share", "reward")


class Length(Reward):
    """Reward that differs within groups."""

    def score(self, *, completions, **_):
        return [len(text) / 10 for text in completions]


class KeptSFT(Recorded, SFTModule):
    """SFT with its gradients."""


class KeptGRPO(Recorded, GRPOModule):
    """GRPO with its gradients and rollouts."""

    def configure_model(self) -> None:
        super().configure_model()
        self.sampled = []

    def training_step(self, batch, batch_idx):
        out = super().training_step(batch, batch_idx)
        self.sampled.append(out["rollouts"].completion_ids.cpu())
        return out


def train(kind, base: str, adapter: str, accelerator: str, precision: str = "32-true", batches=BATCHES, **options):
    """Trained module, and the logged values of its last step."""
    settings = {"weights": "fp32", "adapter": adapter, "max_new_tokens": 12, "micro_batch_tokens": 60, **options}
    if kind is KeptGRPO:
        settings = {"num_generations": 4, **settings}
    module = kind(base, optimizer=SGD, lr_scheduler=Constant, **settings)
    module.stirred = 0.05
    trainer = fit(module, batches, [Length()], accelerator, precision=precision)
    return module, {name[6:]: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (KeptSFT, {}),
        (KeptSFT, {"recompute": True}),
        (KeptGRPO, {}),
        (KeptGRPO, {"num_iterations": 2, "reference_nll_weight": 0.2}),
        (KeptGRPO, {"loss_type": "cispo", "epsilon_high": 5.0, "recompute": True}),
        (KeptGRPO, {"importance_sampling_level": "sequence", "num_iterations": 2}),
        (KeptGRPO, {"loss_type": "best_of_group"}),
        (KeptGRPO, {"loss_type": "cpo"}),
    ],
    ids=["sft", "sft-recompute", "grpo", "grpo-hybrid", "cispo-recompute", "gspo", "best-of-group", "cpo"],
)
def test_losses_and_gradients_equal_those_of_the_cpu(kind, options, base, sft_adapter, within) -> None:
    there, seen = train(kind, base, sft_adapter, "gpu", **options)
    here, wanted = train(kind, base, sft_adapter, "cpu", **options)
    if kind is KeptGRPO:
        assert all(torch.equal(a, b) for a, b in zip(there.sampled, here.sampled, strict=True))
    assert len(there.gradients) == len(here.gradients) == len(BATCHES) * here.updates_per_batch()
    for step, (a, b) in enumerate(zip(there.gradients, here.gradients, strict=True)):
        assert b.norm() > 1e-3
        within(f"gradient of step {step}", relative(a.cpu(), b), 2e-4)
    for name in LOGGED:
        if name in wanted:
            within(name, abs(seen[name] - wanted[name]), 1e-4 * max(1.0, abs(wanted[name])))


@pytest.mark.parametrize("kind", [KeptSFT, KeptGRPO], ids=["sft", "grpo"])
@pytest.mark.parametrize(
    ("weights", "precision", "tolerance"),
    [("bf16", "32-true", 0.1), ("bf16", "bf16-mixed", 0.1), ("fp32", "16-mixed", 0.02)],
    ids=["bf16", "bf16-mixed", "16-mixed"],
)
def test_lower_precision(kind, weights, precision, tolerance, base, sft_adapter, within) -> None:
    """Gradients close to float32's, in float32. Almost greedy samples are the same completions."""
    options = {"temperature": 0.01} if kind is KeptGRPO else {}
    there, logged = train(kind, base, sft_adapter, "gpu", precision, [EXAMPLES], weights=weights, **options)
    here, _ = train(kind, base, sft_adapter, "cpu", "32-true", [EXAMPLES], **options)
    assert there.gradients[0].dtype == torch.float32
    if kind is KeptSFT:  # at this temperature GRPO's gradient is 100 times as sensitive to the logits
        scaled = there.gradients[0].cpu() / logged.get("loss_scale", 1.0)  # recorded before it is unscaled
        within("gradient", relative(scaled, here.gradients[0]), tolerance)
    assert bool(there.gradients[0].isfinite().all()) and there.gradients[0].norm() > 1e-3


def rows(prompts: list[list[int]]) -> Completions:
    generator = torch.Generator().manual_seed(1)
    lengths = [1, 7, 30, 12] * len(prompts)
    repeated = [prompt for prompt in prompts for _ in range(4)]
    ids = [torch.randint(3, 300, (n,), generator=generator).tolist() for n in lengths]
    return Completions(repeated, ids, [0.8] * len(repeated))


def nll_gradient(policy, completions: Completions, recompute: bool = False) -> torch.Tensor:
    for batch in micro_batches(completions, 200):
        scorer = LogprobScorer(policy, completions, batch, recompute)
        for chunk in batch.chunks:
            out = scorer(chunk)
            nll_sum(out.logps, out.mask).backward()
        scorer.backward()
    return gradient(policy)


def test_recomputation_draws_the_same_dropout(base, prompts, cuda, within) -> None:
    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        policy = stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.3), None, cuda), seed=1)
        torch.manual_seed(5)
        found.append(nll_gradient(policy, rows(prompts), recompute))
    torch.manual_seed(6)
    policy.zero_grad()
    other = nll_gradient(policy, rows(prompts))
    within("gradient", relative(found[1], found[0]), 1e-5)
    assert relative(other, found[0]) > 0.01  # dropout is active


def test_recomputation_saves_memory(base, prompts, cuda, record_property) -> None:
    long = [[5 + i] * 400 for i in range(4)]
    peaks = []
    for recompute in (False, True):
        policy = load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, cuda)
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        completions = Completions(long, [[7] * 400] * 4)
        for batch in micro_batches(completions, 10_000):
            scorer = LogprobScorer(policy, completions, batch, recompute)
            for chunk in batch.chunks:
                out = scorer(chunk)
                nll_sum(out.logps, out.mask).backward()
            scorer.backward()
        peaks.append(torch.cuda.max_memory_allocated() - start)
    record_property("peaks", peaks)
    assert peaks[1] < 0.8 * peaks[0]


class Drawn(KeptSFT):
    """Module that records what a step draws on the device, and the state of the device's generator around it."""

    def training_step(self, batch, batch_idx):
        draw = functools.partial(torch.rand, 4, device=self.device)
        self.outside = draw()
        before = torch.cuda.get_rng_state(self.device)
        with self.step_randomness() as seed:
            self.inside = seed, draw()
        with self.step_randomness():
            assert torch.equal(self.inside[1], draw())
        assert torch.equal(before, torch.cuda.get_rng_state(self.device))
        return super().training_step(batch, batch_idx)


def test_a_step_seeds_the_device_and_leaves_its_generator_as_it_was(base, sft_adapter) -> None:
    runs = []
    for before in (0, 1):
        torch.manual_seed(before)
        runs.append(train(Drawn, base, sft_adapter, "gpu", batches=[EXAMPLES])[0])
    assert not torch.equal(runs[0].outside, runs[1].outside)  # the run's own stream differs
    assert runs[0].inside[0] == runs[1].inside[0] and torch.equal(runs[0].inside[1], runs[1].inside[1])


def test_new_tokens(base, corpus, prompts, cuda, within) -> None:
    """Log-probs and gradients of adapter and new rows, in the embedding and in the head."""
    found = {}
    vocabulary = VocabularySettings("bo", str(corpus / "train.jsonl"), "bo", tokens=12, min_count=2)
    for device in (CPU, cuda):
        torch.manual_seed(0)
        policy = load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, device, vocabulary)
        generator = torch.Generator().manual_seed(1)  # the seed gives other first weights on CUDA
        with torch.no_grad():
            for weight in trained(policy).values():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
        added = len(policy.encoder.tokenizer) - 12
        completions = rows(prompts)
        completions = Completions(
            [[*prompt, added + i % 12] for i, prompt in enumerate(completions.prompts)],
            [[*ids, added + i % 12] for i, ids in enumerate(completions.completions)],
        )
        logps = compute_logprobs(policy, completions, 200).cpu()
        found[device.type] = logps, nll_gradient(policy, completions).cpu()
    within("logps", relative(found["cuda"][0], found["cpu"][0]), 1e-5)
    within("gradient", relative(found["cuda"][1], found["cpu"][1]), 1e-4)

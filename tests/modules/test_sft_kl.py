"""SFT with a KL to a reference policy: loss, gradient and logged values, against the plain formula in float64."""

from __future__ import annotations

import pytest
import torch
from helpers.plain_divergence import ADAM, SGD, Recording, first_policy, forward_kl, k3, nll
from helpers.tiny import fit, gradient, relative

from semalign_pl.callbacks import TaxBudget
from semalign_pl.engine import completion_states
from semalign_pl.modules import Constant, SFTModule
from semalign_pl.probes import DriftProbe
from semalign_pl.types import Example

PAIRS = [("老师看书。", "དགེ་རྒན་དེབ།"), ("书", "ད"), ("学生在家里吃饭。", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།"), ("山", "རི")]
BATCH = [Example(str(i), prompt, reference) for i, (prompt, reference) in enumerate(PAIRS)]


@pytest.fixture
def train(base, sft_adapter):
    """Train on given batches from an adapter that differs from its start."""

    def run(batches=(BATCH,), callbacks=(), kind=Recording, optimizer=SGD, **options) -> Recording:
        settings = {"weights": "fp32", "adapter": sft_adapter, "lr_scheduler": Constant, "max_grad_norm": 1e9}
        module = kind(base, optimizer, **{**settings, **options})
        fit(module, list(batches), callbacks)
        return module

    return run


@pytest.mark.parametrize(("kl", "formula"), [("forward_kl", forward_kl), ("k3", k3)])
@pytest.mark.parametrize(("reference", "role"), [("base", "base"), ("start", "reference")])
@pytest.mark.parametrize("micro_batch_tokens", [1, 10**4])
def test_loss_and_gradient(train, kl, formula, reference: str, role: str, micro_batch_tokens: int) -> None:
    module = train(beta=0.7, kl=kl, reference=reference, micro_batch_tokens=micro_batch_tokens)
    policy, encoder = first_policy(module), module.policy.encoder
    rows = [(encoder.encode_prompt(e.prompt, 1000), encoder.encode_completion(e.reference)) for e in BATCH]
    own = torch.cat([nll(policy, *row) for row in rows]).mean()
    divergence = torch.cat([formula(policy, role, *row) for row in rows]).mean()
    (own + 0.7 * divergence).backward()
    assert divergence > 1e-3
    logged = module.logged_values
    assert logged["reference_nll"] == pytest.approx(own.item(), rel=1e-5)
    assert logged[f"kl_to_{role}"] == pytest.approx(divergence.item(), rel=1e-3)
    assert logged["loss"] == pytest.approx((own + 0.7 * divergence).item(), rel=1e-5)
    assert relative(module.gradients[0].double(), gradient(policy)) < 1e-4


def test_asft_is_dft_with_a_kl_to_the_base(train) -> None:
    """The settings that the refusal of `token_weight: asft` names give ASFT's loss (arXiv 2509.23753)."""
    module = train(token_weight="dft", beta=0.05, kl="forward_kl", reference="base", micro_batch_tokens=30)
    policy, encoder = first_policy(module), module.policy.encoder
    rows = [(encoder.encode_prompt(e.prompt, 1000), encoder.encode_completion(e.reference)) for e in BATCH]
    losses = torch.cat([nll(policy, *row) for row in rows])
    dft = (losses.detach().neg().exp() * losses).mean()
    loss = dft + 0.05 * torch.cat([forward_kl(policy, "base", *row) for row in rows]).mean()
    loss.backward()
    assert module.logged_values["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert relative(module.gradients[0].double(), gradient(policy)) < 1e-4


class Steered(Recording):
    """A callback may set beta between steps, here to 0."""

    def configure_model(self):
        super().configure_model()
        self.beta = 0.0


def test_beta_0_changes_nothing(train) -> None:
    """To the last digit, also where the other settings of the KL are given."""
    plain, zero = train([BATCH] * 3), train([BATCH] * 3, kind=Steered, beta=0.5, kl="k3", reference="base")
    assert all(torch.equal(a, b) for a, b in zip(plain.gradients, zero.gradients, strict=True))
    assert plain.logged_values.keys() == zero.logged_values.keys()
    assert plain.logged_values["loss"] == zero.logged_values["loss"]


class Unchanged(Recording):
    stirred = 0.0


@pytest.mark.parametrize(("reference", "role"), [("base", "base"), ("start", "reference")])
def test_a_new_adapter_starts_without_divergence_from_either(train, reference: str, role: str) -> None:
    module = train(kind=Unchanged, adapter=None, beta=1.0, reference=reference)
    assert abs(module.logged_values[f"kl_to_{role}"]) < 1e-6


def test_nll_and_kl_share_one_forward_of_the_policy(train, monkeypatch) -> None:
    forwards = []
    plain = completion_states.decode

    def counted(policy, packed):
        forwards.append(torch.is_grad_enabled())
        return plain(policy, packed)

    monkeypatch.setattr(completion_states, "decode", counted)
    train()
    without = sum(forwards)
    forwards.clear()
    train(beta=0.5)
    assert sum(forwards) == without > 0
    assert len(forwards) == 2 * without, "and as many of the reference, without gradient"
    forwards.clear()
    train(beta=0.5, token_weight="talr")
    assert len(forwards) == 3 * without, "TALR's temperature needs the policy once more, and not the reference"


def test_a_kl_holds_the_policy_back(train) -> None:
    free = train([BATCH] * 10, optimizer=ADAM)
    held = train([BATCH] * 10, optimizer=ADAM, beta=300.0, reference="base")

    def drift(module: Recording) -> float:
        encoder = module.policy.encoder
        policy = module.policy.double()
        with torch.no_grad():
            rows = [(encoder.encode_prompt(e.prompt, 99), encoder.encode_completion(e.reference)) for e in BATCH]
            return float(torch.cat([forward_kl(policy, "base", *row) for row in rows]).mean())

    assert drift(held) < 0.7 * drift(free)


def test_a_tax_budget_steers_it(train, corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # tax_budget.json is written to the run's folder, which is the working folder here
    probe = DriftProbe(str(corpus / "text.txt"), every_n_steps=1)
    budget = TaxBudget({"kl_mean": 1e-4}, beta_max=50.0)
    module = train([BATCH] * 4, [budget, probe], beta=0.1)
    assert budget.beta is not None and module.beta == budget.beta > 0.1


@pytest.mark.parametrize("beta", [-0.1, float("inf"), float("nan")])
def test_a_beta_that_is_no_weight_is_refused(base, beta: float) -> None:
    with pytest.raises(ValueError, match=r"model\.init_args\.beta: .* is not a weight; use e\.g\. 0\.1"):
        SFTModule(base, beta=beta)


@pytest.mark.parametrize(("name", "value"), [("kl", "k3"), ("reference", "base")])
def test_settings_of_a_kl_without_weight_are_refused(base, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^model\.init_args\.{name}: {value}: the KL has no weight; set beta"):
        SFTModule(base, **{name: value})

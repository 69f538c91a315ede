"""Budget for the loss of general ability: real probes of a tiny run steer the KL weight; resuming and refusals."""

import copy
import json

import pytest
import torch
from helpers.small_runs import assert_same, weights

from semalign_pl.callbacks import TaxBudget
from semalign_pl.cli import main, run
from semalign_pl.functional.multiplier import next_multiplier
from semalign_pl.types import MetricResult


@pytest.fixture
def budgeted(runs):
    """Write a recipe of GRPO with a budget, whose probe measures at every step."""

    def args(
        name: str, *flags: str, steps: int = 6, every: int | None = 1, model=None, probes=(), **options
    ) -> list[str]:
        drift = {
            "class_path": "DriftProbe",
            "init_args": {"file": str(runs.corpus / "text.txt"), "every_n_steps": every},
        }
        options = {"budget": {"kl_mean": 0.002}, **options}
        callbacks = [{"class_path": "TaxBudget", "init_args": options}] if options["budget"] else []
        callbacks += [drift, *probes]
        recipe = runs.recipe("grpo", [*callbacks, runs.checkpoints(name, 2)])
        recipe["model"]["init_args"] |= model or {}
        root = f"--trainer.default_root_dir={runs.folder / name}"
        return ["fit", "--config", str(runs.write(recipe, name)), root, f"--trainer.max_steps={steps}", *flags]

    return args


def record(runs, name: str) -> dict:
    return json.loads((runs.folder / name / "tax_budget.json").read_text(encoding="utf-8"))


def test_beta_follows_the_probe_and_holds_the_policy_back(budgeted, runs, capsys) -> None:
    main(budgeted("without", steps=12, budget={}))
    main(budgeted("with", steps=12, beta_max=50.0))
    written = record(runs, "with")
    history, start = written["history"], written["start"]["kl_mean"]
    assert start == 0.0 and [entry["step"] for entry in history] == list(range(13))
    beta, before = 0.04, 0.0
    for entry in history[1:]:
        used = entry["values"]["kl_mean"] / 0.002
        assert entry["used"]["kl_mean"] == pytest.approx(used)
        beta = next_multiplier(beta, used, before, target=0.7, rate=2.0, low=0.04, high=50.0)
        assert entry["beta"] == pytest.approx(beta)
        before = used
    logged = [float(row["train/beta"]) for row in runs.metrics("with") if row["train/beta"]]
    assert logged == pytest.approx([entry["beta"] for entry in history[:-1]])  # the weight used in the step itself
    free = [float(row["probe/kl_mean"]) for row in runs.metrics("without") if row["probe/kl_mean"]][-1]
    assert max(logged) > 1.0 and free > 0.004, "or there was nothing to hold back"
    assert history[-1]["values"]["kl_mean"] < free / 2
    out = " ".join(capsys.readouterr().out.split())
    assert ("The budget was kept" in out) == written["kept"] == (history[-1]["values"]["kl_mean"] <= 0.002)


def test_a_budget_that_cannot_be_kept_is_said(budgeted, runs, capsys) -> None:
    main(budgeted("run", budget={"kl_mean": 1e-7}, beta_max=0.05))
    assert not record(runs, "run")["kept"]
    out = " ".join(capsys.readouterr().out.split())
    assert "The budget was not kept" in out and "beta_max" in out
    assert "beta ended at 0.05 (greatest 0.05)" in out


def test_within_a_wide_budget_nothing_changes(budgeted, runs) -> None:
    main(budgeted("without", budget={}))
    main(budgeted("with", budget={"kl_mean": 1e6}))
    assert record(runs, "with")["kept"]
    assert_same(weights(runs.folder / "with"), weights(runs.folder / "without"))


def test_the_end_is_measured_where_no_probe_was_due(budgeted, runs) -> None:
    main(budgeted("run", steps=5, every=2))
    assert [entry["step"] for entry in record(runs, "run")["history"]] == [0, 2, 4, 5]


def test_resumed_equals_uninterrupted(budgeted, runs) -> None:
    main(budgeted("whole", beta_max=50.0))
    main(budgeted("part", f"--ckpt_path={runs.folder / 'whole' / 'step=4.ckpt'}", beta_max=50.0))
    assert record(runs, "part") == record(runs, "whole")
    assert_same(weights(runs.folder / "part"), weights(runs.folder / "whole"))


def test_one_step_of_the_multiplier_however_many_probes() -> None:
    class Stub:
        global_step, world_size, beta = 1, 1, 1.0

    budget, run = TaxBudget({"a": -1.0, "b": 1.0}, beta_max=100.0), Stub()
    budget.load_state_dict(
        {
            "start": {"a": 1.0, "b": 0.0},
            "now": {"a": 1.0, "b": 0.0},
            "beta": 1.0,
            "beta_min": 0.01,
            "history": [{"step": 0, "values": {}, "used": {}, "beta": 1.0}],
        }
    )
    for name, value in (("a", 0.5), ("b", 0.8), ("c", 9.0)):
        budget.on_probe_end(run, run, {name: MetricResult(value, None, "")})
    expected = next_multiplier(1.0, 0.8, 0.0, target=0.7, rate=2.0, low=0.01, high=100.0)
    assert budget.beta == run.beta == pytest.approx(expected)
    assert [entry["step"] for entry in budget.history] == [0, 1]


class Steered:
    """Trainer and module of a budget that is measured by hand."""

    global_step, world_size, beta = 0, 1, 0.04


def at_start(run: Steered) -> TaxBudget:
    """Budget of two scores, as at the start of a stage."""
    budget = TaxBudget({"f1": -2.0, "nll": 0.1})
    budget.start, budget.now = {"f1": 60.0, "nll": 0.0}, {"f1": 60.0, "nll": 0.0}
    budget.beta = budget.beta_min = run.beta
    budget._note(0)
    return budget


def measure(budget: TaxBudget, run: Steered, step: int, **scores: float) -> float:
    """Report one score per probe at a step; return the resulting beta."""
    run.global_step = step
    for name, value in scores.items():
        budget.on_probe_end(run, run, {name: MetricResult(value, None, "")})
    return run.beta


STEER = {"target": 0.7, "rate": 2.0, "low": 0.04, "high": 10.0}


def test_a_score_moves_beta_once_however_often_another_probe_measures() -> None:
    """F1 is 10 % beyond its budget once, at step 200, and within it at step 400; nll does not move."""
    betas = {}
    for every in (20, 200):
        run = Steered()
        budget = at_start(run)
        betas[every] = {}
        for step in range(20, 401, 20):
            due = {"f1": 57.8 if step == 200 else 59.5} if step % 200 == 0 else {}
            betas[every][step] = measure(budget, run, step, **({"nll": 0.0} if step % every == 0 else {}), **due)
    assert betas[20] == betas[200]
    assert betas[20][180] == 0.04 and betas[20][200] == betas[20][380] > 0.5 and betas[20][400] < betas[20][380]


def test_a_fresh_score_is_compared_with_its_own_last_measurement() -> None:
    run = Steered()
    budget = at_start(run)
    first = measure(budget, run, 2, f1=58.0)
    assert first == next_multiplier(0.04, 1.0, 0.0, **STEER)
    second = measure(budget, run, 3, nll=0.09)
    assert second == pytest.approx(next_multiplier(first, 0.9, 0.0, **STEER))
    assert measure(budget, run, 4, nll=0.01) == second  # F1 had used more
    assert measure(budget, run, 6, f1=59.5) == pytest.approx(next_multiplier(second, 0.25, 1.0, **STEER))


def test_a_resume_between_two_probes_of_a_step() -> None:
    whole, part = Steered(), Steered()
    budget = at_start(whole)
    measure(budget, whole, 2, f1=58.5, nll=0.02)
    measure(budget, whole, 4, f1=58.2)
    resumed = TaxBudget(budget.budget)
    resumed.load_state_dict(copy.deepcopy(budget.state_dict()))
    assert measure(resumed, part, 4, nll=0.09) == measure(budget, whole, 4, nll=0.09)
    assert resumed.history == budget.history and [entry["step"] for entry in resumed.history] == [0, 2, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": {"cmrc_f1": -1.0}}, "nothing measures 'cmrc_f1' during training (there is nll_change_mean,"),
        ({"every": None}, "nothing measures 'kl_mean' during training (there is no probe with every_n_steps)"),
        ({"model": {"beta": 0.0}}, "model.init_args.beta 0 <= beta_max 10 does not hold above 0"),
        ({"beta_min": 0.5}, "beta_min 0.5 <= model.init_args.beta 0.04"),
        ({"budget": {"kl_mean": 0.0}}, "TaxBudget.budget: kl_mean: 0 can be kept by no training"),
        ({"budget": {"cmrc_f1": 1.0}}, "cmrc_f1: 1 limits no loss, because it is an ability; write -1"),
        ({"budget": {"kl_mean": -0.1}}, "kl_mean: -0.1 limits no loss, because less of it is better; write 0.1"),
        ({"target": 1.5}, "TaxBudget.target: 1.5 is no share"),
        ({"rate": 0.0}, "TaxBudget.rate: 0.0 would not lead"),
    ],
)
def test_mistakes_are_one_line(budgeted, capsys, options, message) -> None:
    assert run(budgeted("run", **options)) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_budget_of_a_whole_ability_is_refused(budgeted, runs, capsys) -> None:
    file = str(runs.corpus / "reading.json")
    reading = {"class_path": "ReadingComprehensionProbe", "init_args": {"file": file, "every_n_steps": 1}}
    assert run(budgeted("run", probes=[reading], budget={"cmrc_f1": -5.0})) == 2  # the tiny model answers nothing
    assert "cmrc_f1: -5 limits nothing, because the model is at 0 at the start" in capsys.readouterr().err


def test_a_checkpoint_of_another_budget_is_refused() -> None:
    budget = TaxBudget({"kl_mean": 0.1})
    with pytest.raises(ValueError, match="under a budget of cmrc_f1, not kl_mean"):
        budget.load_state_dict({"start": {"cmrc_f1": 1.0}})


def test_state_is_plain(tmp_path) -> None:
    budget = TaxBudget({"kl_mean": 0.1})
    budget.start = budget.now = {"kl_mean": 0.0}
    budget.beta = budget.beta_min = 0.04
    budget._note(0)
    torch.save(budget.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == budget.state_dict()


def test_no_score_of_the_budget_is_an_old_one_at_the_end(budgeted, runs) -> None:
    """One probe measures at the last step, so that an entry for it is there before the other's score is."""
    other = {
        "class_path": "ForwardKLProbe",
        "init_args": {"file": str(runs.corpus / "text.txt"), "limit": 4, "max_new_tokens": 4, "every_n_steps": 2},
    }
    both = {"kl_mean": 1.0, "forward_kl": 1.0}
    for name, every in (("often", 1), ("seldom", 3)):
        main(budgeted(name, steps=4, every=every, probes=[other], budget=both, beta_max=0.04))
    often, seldom = (record(runs, name)["history"] for name in ("often", "seldom"))
    assert [entry["step"] for entry in seldom] == [0, 2, 3, 4]
    assert seldom[-1]["values"] == pytest.approx(often[-1]["values"], rel=1e-4)
    assert often[-1]["values"]["kl_mean"] != pytest.approx(often[-2]["values"]["kl_mean"], rel=1e-3)

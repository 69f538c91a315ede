"""Anchor on general text: its texts, its term against the plain formula in float64, resuming, and refusals."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.conversations import openai
from helpers.plain_divergence import ADAM, SGD, Recording, first_policy, forward_kl, nll
from helpers.small_runs import Runs, assert_same, weights
from helpers.tiny import CPU, Recorded, fit, gradient, relative, stir

from semalign_pl.cli import main, run
from semalign_pl.engine.completion_states import states_of_role
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.modules import Constant, GRPOModule, SFTModule
from semalign_pl.modules.anchor import Anchor, AnchorSettings, rows_of_step
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.probes import DriftProbe
from semalign_pl.rewards import LengthReward
from semalign_pl.types import Example

TEXTS = ["老师在山上看书。", "学生在学校吃饭。", "医生看山。", "书", "山上有学校，学校里有老师和学生。"]
BATCH = [Example("a", "老师看书。", "དགེ་རྒན་དེབ།"), Example("b", "山", "རི")]


@pytest.fixture
def text(tmp_path):
    """File of five texts, one of them a single token or two."""
    path = tmp_path / "general.txt"
    path.write_text("\n".join([*TEXTS[:2], "", *TEXTS[2:]]) + "\n", encoding="utf-8")
    return path


# -- texts of a step ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("texts", "rows"), [(12, 4), (13, 4), (3, 16), (1, 1)])
def test_every_epoch_has_every_text_once_in_the_same_groups(texts: int, rows: int) -> None:
    steps = -(-texts // rows)
    epochs = [[rows_of_step(texts, rows, epoch * steps + i, seed=1) for i in range(steps)] for epoch in range(6)]
    for epoch in epochs:
        assert sorted(row for group in epoch for row in group) == list(range(texts))
        assert all(len(group) <= rows for group in epoch)
        assert sorted(epoch) == sorted(epochs[0])
    if steps > 2:
        assert len({str(epoch) for epoch in epochs}) > 1, "the order differs"
        assert rows_of_step(texts, rows, 0, seed=1) != rows_of_step(texts, rows, 0, seed=2)


# -- loss and gradient -------------------------------------------------------------------------------------------------


class RecordingGRPO(Recorded, GRPOModule):
    stirred = 0.05

    def log_train(self, values, rows):
        self.logged_values = {name: float(value) for name, value in values.items()}
        super().log_train(values, rows)


@pytest.fixture
def train(base, sft_adapter):
    def run(batches=(BATCH,), kind=Recording, callbacks=(), optimizer=SGD, **options):
        settings = {"weights": "fp32", "adapter": sft_adapter, "lr_scheduler": Constant, "max_grad_norm": 1e9}
        module = kind(base, optimizer, **{**settings, **options})
        fit(module, list(batches), callbacks)
        return module

    return run


@pytest.mark.parametrize("micro_batch_tokens", [1, 12, 10**4])
def test_loss_and_gradient(train, text, micro_batch_tokens: int) -> None:
    settings = AnchorSettings(str(text), weight=0.7, rows_per_step=3, max_tokens=4)
    module = train(anchor=settings, seed=6, micro_batch_tokens=micro_batch_tokens)
    policy, encoder = first_policy(module), module.policy.encoder
    rows = [(encoder.encode_prompt(e.prompt, 1000), encoder.encode_completion(e.reference)) for e in BATCH]
    ids = [encoder.tokenizer(TEXTS[row])["input_ids"][:4] for row in rows_of_step(5, 3, 0, seed=6)]
    texts = [(one[:1], one[1:]) for one in ids if len(one) > 1]
    assert any(len(one) == 4 for one in ids), "one is cut"
    own = torch.cat([nll(policy, *row) for row in rows]).mean()
    tokens = sum(len(ids) for _, ids in texts)
    divergence = torch.cat([forward_kl(policy, "base", *row) for row in texts]).mean()
    (own + 0.7 * divergence).backward()
    logged = module.logged_values
    assert divergence > 1e-3 and logged["anchor_tokens"] == tokens
    assert logged["anchor_kl"] == pytest.approx(divergence.item(), rel=1e-3)
    assert logged["loss"] == pytest.approx((own + 0.7 * divergence).item(), rel=1e-5)
    assert relative(module.gradients[0].double(), gradient(policy)) < 1e-4


def test_conversations_are_written_by_the_chat_template(train, tmp_path) -> None:
    """All tokens count, those of the user too; the template's own text of a conversation has the same ids."""
    talks = [openai("u:老师看书。", "a:看山。"), openai("s:书", "u:山", "a:学生", "u:看", "a:老师")]
    file = tmp_path / "general.jsonl"
    rows = [*({"messages": talk} for talk in talks), {"text": TEXTS[0]}, {"instruction": "看山。", "output": "书。"}]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    module = train(anchor=AnchorSettings(str(file), rows_per_step=4))
    tokenizer = module.policy.encoder.tokenizer
    talks.append(openai("u:看山。", "a:书。"))
    ids = [tokenizer.apply_chat_template(talk, return_dict=False) for talk in talks]
    end = module.policy.encoder.eos_ids[0]
    ids = [one[: len(one) - one[::-1].index(end)] for one in ids]  # without what the template writes after a turn
    ids.append(tokenizer(TEXTS[0])["input_ids"])
    texts = [(one[:1], one[1:]) for one in ids]
    divergence = torch.cat([forward_kl(first_policy(module), "base", *row) for row in texts]).mean()
    assert module.logged_values["anchor_tokens"] == sum(len(one) - 1 for one in ids)
    assert module.logged_values["anchor_kl"] == pytest.approx(divergence.item(), rel=1e-3)


def test_without_weight_it_changes_nothing(train, text) -> None:
    """To the last digit: an anchor of weight 0 draws no random numbers and forwards nothing."""
    plain = train([BATCH] * 3, lora=LoraSettings(4, 8, 0.3), adapter=None)
    zero = train([BATCH] * 3, lora=LoraSettings(4, 8, 0.3), adapter=None, anchor=AnchorSettings(str(text), weight=0.0))
    assert all(torch.equal(a, b) for a, b in zip(plain.gradients, zero.gradients, strict=True))
    assert plain.logged_values.keys() == zero.logged_values.keys()


def test_it_holds_the_policy_to_its_base(train, text) -> None:
    free, held = (train([BATCH] * 10, optimizer=ADAM, anchor=AnchorSettings(str(text), weight=w)) for w in (0.0, 300.0))

    def drift(module) -> float:
        ids = [module.policy.encoder.tokenizer(text)["input_ids"] for text in TEXTS]
        policy = module.policy.double()
        with torch.no_grad():
            return float(torch.cat([forward_kl(policy, "base", one[:1], one[1:]) for one in ids]).mean())

    assert drift(held) < drift(free) / 2


def test_grpo_has_it_too_without_any_reward(train, text) -> None:
    """Equal rewards leave GRPO without a gradient: what moves the policy is the anchor, twice on the same texts."""
    settings = {"num_generations": 2, "max_new_tokens": 4, "beta": 0.0, "num_iterations": 2}
    module = train(
        kind=RecordingGRPO, callbacks=[LengthReward(weight=0.0)], anchor=AnchorSettings(str(text)), **settings
    )
    assert module.gradients[0].norm() > 1e-3
    policy, encoder = first_policy(module), module.policy.encoder
    ids = [encoder.tokenizer(text)["input_ids"] for text in TEXTS]
    texts = [(one[:1], one[1:]) for one in ids if len(one) > 1]
    torch.cat([forward_kl(policy, "base", *row) for row in texts]).mean().backward()
    assert relative(module.gradients[0].double(), gradient(policy)) < 1e-4
    assert relative(module.gradients[1], module.gradients[0]) < 0.5, "the same texts in both updates"


# -- states of the base ------------------------------------------------------------------------------------------------


def test_states_are_without_dropout_and_random_numbers(base, prompts) -> None:
    policy = stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU), seed=4)
    texts = Completions(prompts, [[7, 8, 9]] * len(prompts))
    before = torch.get_rng_state()
    for role in ("policy", "base"):
        first, second = (states_of_role(policy, role, texts, 10**6) for _ in range(2))
        assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), before) and policy.training


# -- runs --------------------------------------------------------------------------------------------------------------


def anchored(runs: Runs, text, stage: str, name: str, *flags: str, **more) -> list[str]:
    settings = {"file": str(text), "rows_per_step": 2, "max_tokens": 20}
    recipe = runs.recipe(stage, [runs.checkpoints(name, 4), *more.pop("callbacks", [])])
    recipe["model"]["init_args"] |= {"anchor": settings} | more
    root = f"--trainer.default_root_dir={runs.folder / name}"
    return ["fit", "--config", str(runs.write(recipe, name)), root, "--trainer.max_steps=8", *flags]


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_resumed_equals_straight(runs: Runs, text, stage: str) -> None:
    """Steps 4 to 7 are in the second and third epoch of the anchor's file, whose states the resumed run lacks."""
    main(anchored(runs, text, stage, "straight"))
    main(anchored(runs, text, stage, "resumed", f"--ckpt_path={runs.folder / 'straight' / 'step=4.ckpt'}"))
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))
    rows = runs.metrics("straight")
    assert len({row["train/anchor_tokens"] for row in rows}) > 1, "other texts in other steps"
    assert max(float(row["train/anchor_kl"]) for row in rows) > 0


def test_a_resumed_run_with_another_anchor_is_refused(runs: Runs, text, capsys) -> None:
    main(anchored(runs, text, "sft", "begun"))
    saved = f"--ckpt_path={runs.folder / 'begun' / 'step=4.ckpt'}"
    for change, answer in (
        (["--model.init_args.anchor=null"], "model.init_args.anchor was {kind: forward_kl, max_tokens: "),
        (["--model.init_args.anchor.weight=2"], "model.init_args.anchor.weight was 1.0 and is 2.0"),
    ):
        assert run(anchored(runs, text, "sft", "resumed", saved, *change)) == 2
        assert answer in capsys.readouterr().err.strip().splitlines()[-1]
    moved = text.with_name("moved.txt")
    moved.write_text(text.read_text(encoding="utf-8"), encoding="utf-8")
    main(anchored(runs, moved, "sft", "resumed", saved))  # a file may be moved
    text.write_text("老师\n学生\n", encoding="utf-8")
    assert run(anchored(runs, text, "sft", "changed", saved)) == 2
    assert "its file has changed" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_two_processes_train_as_one(runs: Runs, text) -> None:
    """Each rank has every second text of a step; both divide by the tokens of all."""
    sgd = ["--model.init_args.optimizer=torch.optim.SGD", "--model.init_args.optimizer.init_args.lr=1.0"]
    same = [*sgd, "--model.init_args.lora.dropout=0.0"]
    main(anchored(runs, text, "sft", "one", *same, "--data.init_args.batch_size=8"))
    ddp = [*same, "--data.init_args.batch_size=4", "--trainer.devices=2", "--trainer.strategy=ddp"]
    for code, log in runs.processes(anchored(runs, text, "sft", "two", *ddp), ranks=2):
        assert code == 0, log
    one, both = weights(runs.folder / "one"), weights(runs.folder / "two")
    for name in one:
        torch.testing.assert_close(both[name], one[name], rtol=0, atol=3e-5)
    for a, b in zip(runs.metrics("one"), runs.metrics("two"), strict=True):
        assert float(b["train/anchor_kl"]) == pytest.approx(float(a["train/anchor_kl"]), rel=1e-3, abs=1e-6)
        assert float(b["train/anchor_tokens"]) * 2 == float(a["train/anchor_tokens"])


def test_a_tax_budget_steers_it(runs: Runs, text, capsys) -> None:
    drift = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt"), "every_n_steps": 1}}
    options = {"budget": {"kl_mean": 0.0005}, "steers": "anchor", "beta_max": 100.0}
    callbacks = [{"class_path": "TaxBudget", "init_args": options}, drift]
    main(anchored(runs, text, "sft", "steered", callbacks=callbacks))
    assert "the anchor's weight ended at" in " ".join(capsys.readouterr().out.split())
    main(anchored(runs, text, "sft", "free", callbacks=[drift]))
    rows = [row for row in runs.metrics("steered") if row["train/anchor_weight"]]
    assert float(rows[0]["train/anchor_weight"]) == 1.0 and float(rows[-1]["train/anchor_weight"]) > 2.0
    last = {
        name: float([r["probe/kl_mean"] for r in runs.metrics(name) if r["probe/kl_mean"]][-1])
        for name in ("steered", "free")
    }
    assert last["steered"] < last["free"]
    assert run(anchored(runs, text, "sft", "none", "--model.init_args.anchor=null", callbacks=callbacks)) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "beta_min 0 <= model.init_args.anchor.weight 0" in message and "e.g. anchor: {file: general.txt," in message


def test_text_that_a_drift_probe_measures_is_refused(runs: Runs, text, capsys) -> None:
    text.write_text("老师\n" + (runs.corpus / "text.txt").read_text(encoding="utf-8"), encoding="utf-8")
    drift = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt"), "limit": 2}}
    assert run(anchored(runs, text, "sft", "run", callbacks=[drift])) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 lines of" in message and "the first is general.txt:2; the probe would measure" in message


def test_a_conversation_with_text_that_a_drift_probe_measures_is_refused(tmp_path) -> None:
    (tmp_path / "measured.txt").write_text("学生看书。\n", encoding="utf-8")
    talks = [openai("u:写一句中文。", "a:老师看山。"), openai("u:写一句中文。", "a:学生看书。")]
    rows = "".join(json.dumps({"messages": talk}, ensure_ascii=False) + "\n" for talk in talks)
    (tmp_path / "general.jsonl").write_text(rows, encoding="utf-8")
    anchor = Anchor(AnchorSettings(str(tmp_path / "general.jsonl")), seed=0)
    with pytest.raises(ValueError, match=r"1 lines of .*, the first is general\.jsonl:2; the probe would measure"):
        anchor.check_probes([DriftProbe(str(tmp_path / "measured.txt"))])


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("老师", "general.jsonl:2: is not JSON ("),
        ("[]", "general.jsonl:2: no object; write {"),
        ('{"texts": "书"}', "general.jsonl:2: no conversation: no column 'messages' or"),
        (
            '{"messages": [{"role": "user", "content": "书"}]}',
            "general.jsonl:2: the conversation has no assistant turn",
        ),
    ],
)
def test_a_line_that_is_no_conversation_is_named(base, tmp_path, line: str, answer: str) -> None:
    file = tmp_path / "general.jsonl"
    file.write_text(f'{{"text": "山"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ValueError) as error:
        SFTModule(base, anchor=AnchorSettings(str(file)))
    assert str(error.value).startswith("model.init_args.anchor.file: " + answer)


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"file": "nowhere.txt"}, "model.init_args.anchor.file: there is no file nowhere.txt; check the path"),
        ({"weight": -1.0}, "model.init_args.anchor.weight: -1.0 is not a weight"),
        ({"rows_per_step": 0}, "model.init_args.anchor.rows_per_step: 0 is too few; use at least 1"),
        ({"max_tokens": 1}, "model.init_args.anchor.max_tokens: 1 is too few; use at least 2"),
    ],
)
def test_mistakes_are_one_line(base, text, settings: dict, answer: str) -> None:
    with pytest.raises(ValueError) as error:
        SFTModule(base, anchor=AnchorSettings(**{"file": str(text), **settings}))
    assert str(error.value).startswith(answer)

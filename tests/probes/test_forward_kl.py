"""Forward KL, against plain Hugging Face forwards of base and merged adapter on the base's own samples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from helpers.pairs import PAIRS
from helpers.small_runs import Runs
from helpers.tiny import CPU, stir

from semalign_pl.data.tasks import Translation
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.probes import ForwardKLProbe
from semalign_pl.types import Measurement, MetricResult


def load(base: str, scale: float = 0.0) -> Policy:
    torch.manual_seed(0)
    return stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU), seed=2, scale=scale)


def measurement(probe: ForwardKLProbe, policy: Policy) -> Measurement:
    with policy.inference():
        return probe.measure(policy)


def measure(probe: ForwardKLProbe, policy: Policy) -> MetricResult:
    return measurement(probe, policy).scores["forward_kl"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("老师看书\n\n学生在家里吃饭，天气很好\n今天\n", encoding="utf-8")
    return path


def test_against_plain_forwards(base: str, prompts: Path) -> None:
    from transformers import AutoModelForCausalLM

    policy, probe = load(base, 0.3), ForwardKLProbe(str(prompts), max_new_tokens=12, seed=5)
    measured = measurement(probe, policy)
    score, items = measured.scores["forward_kl"], measured.items
    (completions,) = probe._completions.values()
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    merged = load(base, 0.3).model.merge_and_unload().eval()
    lines = [line for line in prompts.read_text(encoding="utf-8").splitlines() if line]
    divergence = []
    for line, completion in zip(lines, completions, strict=True):
        prompt = policy.encoder.encode_prompt(line, 100)
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            p, q = (m(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for m in (plain, merged))
        divergence += (p.exp() * (p - q)).sum(-1).tolist()
    assert len(divergence) > 20
    assert score.value == pytest.approx(sum(divergence) / len(divergence), rel=1e-3) and score.value > 0.01
    assert [item.id for item in items] == ["prompts.txt:1", "prompts.txt:3", "prompts.txt:4"]
    assert sum(item.statistics["forward_kl"][0] for item in items) == pytest.approx(sum(divergence), rel=1e-3)
    assert sum(item.statistics["forward_kl"][1] for item in items) == len(divergence)
    for fact in ("forward_kl:mean|", "KL(base to policy)", "prompts:3", "cut:0", "temperature:1", "sampling:5"):
        assert fact in score.signature


def test_the_expectation_is_over_samples_of_the_base(base: str, prompts: Path) -> None:
    """The mean log ratio of the sampled tokens estimates the same KL."""
    from helpers.tiny import plain_logps
    from transformers import AutoModelForCausalLM

    prompts.write_text("老师看书\n" * 300, encoding="utf-8")
    policy, probe = load(base, 0.2), ForwardKLProbe(str(prompts), limit=None, max_new_tokens=8)
    score = measure(probe, policy)
    (completions,) = probe._completions.values()
    assert len(set(map(tuple, completions))) > 250
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    merged = load(base, 0.2).model.merge_and_unload().eval()
    prompt = policy.encoder.encode_prompt("老师看书", 100)
    with torch.no_grad():
        ratios = torch.cat([plain_logps(plain, prompt, c) - plain_logps(merged, prompt, c) for c in completions])
    error = ratios.std() / len(ratios) ** 0.5
    assert abs(ratios.mean() - score.value) < 4 * error and error < score.value / 5


def test_zero_for_a_fresh_adapter_and_sampled_once(base: str, prompts: Path) -> None:
    probe = ForwardKLProbe(str(prompts), max_new_tokens=6)
    assert measure(probe, load(base)).value == 0
    (before,) = probe._completions.values()
    assert measure(probe, load(base, 0.3)).value > 0
    (after,) = probe._completions.values()
    assert after is before


def test_the_task_s_own_prompts_in_fit_and_test(runs: Runs) -> None:
    probe = {"class_path": "ForwardKLProbe", "init_args": {"max_new_tokens": 6, "limit": 3, "every_n_steps": 2}}
    fitted = runs("fit", "sft", "run", "trainer.max_steps=4", callbacks=[probe])
    logged = [float(row["probe/forward_kl"]) for row in runs.metrics() if row["probe/forward_kl"]]
    assert len(logged) == 2 and 0 < logged[0] < logged[1]
    (own,) = (c for c in fitted.trainer.callbacks if isinstance(c, ForwardKLProbe))
    assert [source.id.split(":")[0] for source in own._sources] == ["train.jsonl"] * 3
    validated = runs("fit", "sft", "two", f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", callbacks=[probe])
    (own,) = (c for c in validated.trainer.callbacks if isinstance(c, ForwardKLProbe))
    assert [source.id.split(":")[0] for source in own._sources] == ["dev.jsonl"] * 3
    adapter = f"model.init_args.adapter={runs.folder / 'run' / 'adapter'}"
    evaluation = {"class_path": "Evaluation"}
    named = {**probe, "init_args": {**probe["init_args"], "name": "again"}}
    tested = runs("test", "sft", "test", adapter, "model.init_args.lora=null", callbacks=[evaluation, probe, named])
    written = runs.results("test")
    assert (
        written["metrics"]["forward_kl"]["value"] > 0 and "prompts:3" in written["metrics"]["forward_kl"]["signature"]
    )
    assert written["metrics"]["again_forward_kl"] == {**written["metrics"]["forward_kl"], "items": "again"}
    assert tested.model.policy.encoder.truncated_prompts == 0


def test_cut_prompts_are_counted_apart(base: str, prompts: Path) -> None:
    policy = load(base)
    lengths = sorted(len(policy.encoder.encode_prompt(line, 100)) for line in prompts.read_text("utf-8").split())
    assert lengths[0] < lengths[1] < lengths[2]
    score = measure(ForwardKLProbe(str(prompts), max_prompt_tokens=lengths[1] - 1, max_new_tokens=4), policy)
    assert "|prompts:3|cut:2|" in score.signature
    assert policy.encoder.truncated_prompts == 0


def test_a_long_prompt_of_the_corpus_is_cut_and_counted(runs: Runs) -> None:
    encode = load(runs.base).encoder.encode_prompt
    lengths = [len(encode(Translation().example(pair, "").policy_prompt, 1000)) for pair in PAIRS[40:]]
    init = {"max_new_tokens": 4, "max_prompt_tokens": min(lengths) - 1}
    probe = {"class_path": "ForwardKLProbe", "init_args": init}
    runs("test", "sft", "run", callbacks=[{"class_path": "Evaluation"}, probe])
    assert "|prompts:8|cut:8|" in runs.results()["metrics"]["forward_kl"]["signature"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_replayed_rows_and_raw_text_are_no_prompts_of_the_task(runs: Runs, split: str) -> None:
    raw = {"path": str(runs.corpus / "text.txt"), "task": {"class_path": "RawText"}}
    replayed = {"path": str(runs.corpus / "dev.jsonl"), "name": "general", "replay": True}
    own = str(runs.corpus / "train.jsonl")
    corpora = [raw, *([replayed] if split == "train" else []), own, raw]
    probe = {"class_path": "ForwardKLProbe", "init_args": {"max_new_tokens": 2, "limit": None, "every_n_steps": 1}}
    fitted = runs(
        "fit", "sft", "run", f"data.init_args.{split}={json.dumps(corpora)}", "trainer.max_steps=1", callbacks=[probe]
    )
    (measured,) = (one for one in fitted.trainer.callbacks if isinstance(one, ForwardKLProbe))
    assert {source.id.split(":")[0] for source in measured._sources} == {"train.jsonl"}
    assert len(measured._sources) == 40


def test_a_prompt_ends_at_the_end_of_its_line_only(base: str, prompts: Path) -> None:
    prompts.write_bytes("one\u2028same\r\n\ntwo\x0csame\n".encode())
    items = measurement(ForwardKLProbe(str(prompts), max_new_tokens=2), load(base)).items
    assert [item.id for item in items] == ["prompts.txt:1", "prompts.txt:3"]


def test_mistakes(tmp_path: Path, base: str) -> None:
    empty = tmp_path / "prompts.txt"
    empty.write_bytes(b" \n")
    with pytest.raises(ValueError, match=f"ForwardKLProbe.file: {re.escape(str(empty))} is empty; give one prompt"):
        ForwardKLProbe(str(empty))
    empty.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not UTF-8 text.*convert it"):
        ForwardKLProbe(str(empty))
    with pytest.raises(ValueError, match="ForwardKLProbe.file: there is no file .*none.txt"):
        ForwardKLProbe(str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="ForwardKLProbe.limit: 0 is not a positive"):
        ForwardKLProbe(limit=0)

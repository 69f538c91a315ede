"""benchmarks/few_shot.py: its translators are the map's, and its rows are those of the few-shot systems."""

from __future__ import annotations

import json
from pathlib import Path

import harness
import pytest
import yaml
from few_shot import DEFAULT, SHOWN, parser, rows_of, write_results

CONFIGS = Path(__file__).parents[2] / "configs" / "map"


def test_translators_are_those_of_the_map() -> None:
    """Otherwise each would be trained again, in the folder of the other."""
    few, whole = (yaml.safe_load((CONFIGS / name / "study.yaml").read_text()) for name in ("few_shot", "."))
    for name, config in (("cold_start", "sft"), ("sft", "sft"), ("semantic_grpo", "semantic_grpo")):
        assert few[name]["config"] == f"../{config}.yaml" and few[name]["from"] == whole[name]["from"]
        assert whole[name].get("config", f"{name}.yaml") == f"{config}.yaml"
        assert few[name].get("set") == whole[name].get("set")
    assert few["frontier"]["scales"] == whole["frontier"]["scales"]
    assert few["encoder"]["config"] == f"../{whole['encoder']['config']}"


def test_all_few_shot_systems_differ_in_start_and_number_only() -> None:
    systems = yaml.safe_load((CONFIGS / "few_shot" / "study.yaml").read_text())
    found = rows_of({name: {"metrics": dict.fromkeys(SHOWN, {"value": 0.5})} for name in systems})
    starts = ("base", "cold_start", "sft", "grpo")
    assert [(row["headlines"], row["start"]) for row in found] == [(n, s) for n in (100, 300, 1000) for s in starts]
    assert found[0]["rouge_l"] == {"value": 0.5}
    settings = []
    for row in found:
        entry = systems[f"few_{row['headlines']}_from_{row['start']}"]
        assert entry["from"] == {"grpo": "semantic_grpo"}.get(row["start"], row["start"])
        changed = dict(entry["set"])
        assert changed.pop("data.init_args.limit") == row["headlines"]
        assert (changed.pop("lora", None) is None) == (row["start"] != "base")
        settings.append(changed)
    assert all(one == settings[0] for one in settings)


def test_a_part_of_the_conditions_replaces_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)

    def write(run: int, *flags: str) -> dict:
        options = parser().parse_args([*flags])
        write_results({condition: [{"run": run}] for condition in options.conditions}, options)
        return json.loads((tmp_path / "few_shot.json").read_text(encoding="utf-8"))

    first = write(1)
    assert first["command"] == "python benchmarks/few_shot.py --seeds 3"
    mixed = write(2, "--conditions", DEFAULT[1])
    assert mixed["conditions"] == first["conditions"] | {DEFAULT[1]: [{"run": 2}]}
    assert [*mixed["conditions"]] == [*DEFAULT] and mixed["command"] == first["command"]
    more = write(3, "--conditions", "pairs-300-style-1")
    assert [*more["conditions"]] == ["pairs-300-style-1", *DEFAULT]
    assert more["command"] == f"{first['command']} --conditions pairs-300-style-1 {' '.join(DEFAULT)}"
    # Of other seeds or other models: no numbers to mix with.
    others = {
        ("--seeds", "2"): "python benchmarks/few_shot.py --seeds 2",
        ("--models", "m y"): "python benchmarks/few_shot.py --seeds 3 --models 'm y'",
    }
    for flags, command in others.items():
        alone = write(4, *flags, "--conditions", DEFAULT[0])
        assert [*alone["conditions"]] == [DEFAULT[0]] and alone["command"] == f"{command} --conditions {DEFAULT[0]}"

"""All shipped configs parse, and their file names say their stages."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonargparse import ActionConfigFile
from lightning.pytorch import Trainer

from semalign_pl.cli import Parser
from semalign_pl.data import CorpusDataModule
from semalign_pl.messages.errors import UsageError
from semalign_pl.modules import StageModule
from semalign_pl.probes.reading_comprehension import default_prompt
from semalign_pl.report.paper_tables import read_published
from semalign_pl.study.study_file import read_study
from semalign_pl.study.systems import Study, group

STUDIES = ("quickstart", "paper")
LR = "--model.init_args.optimizer.init_args.lr"
ROOT = Path(__file__).parents[2] / "configs"
OTHERS = ("study.yaml", "rubric.yaml", "embedder.yaml", "encoder.yaml", "validation.yaml", "published.yaml")
RECIPES = (path for path in ROOT.rglob("*.yaml") if path.name not in OTHERS)
DISTILL = [ROOT / folder / name for folder in ("methods", "ladder") for name in ("heal.yaml", "sdft.yaml")]
METHODS = sorted(path for path in (ROOT / "methods").glob("*.yaml") if path not in DISTILL)
PROBES = ROOT / "abilities" / "probes.yaml"
CONFIGS = sorted(  # cards are tested in tests/plan
    path for path in RECIPES if path.parents[1].name != "cards" and path not in [*METHODS, PROBES]
)
ABLATION = sorted(path for path in CONFIGS if path.parent.name == "ablation")
SOURCE_ONLY = [path for path in CONFIGS if path.stem in ("reinforce", "source_only")]
GRPO = [path for path in CONFIGS if "grpo" in path.stem or path.parent.name == "tax_budget"] + ABLATION + SOURCE_ONLY


def parse(*paths: Path):
    """Config as ``semalign fit`` parses it, without instantiating anything; a copy, which a test may change."""
    return deepcopy(_parse(*paths))


@cache
def _parse(*paths: Path):
    parser = Parser()
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_argument("--seed_everything", type=int)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(StageModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(CorpusDataModule, "data", subclass_mode=True)
    return parser.parse_args([argument for path in paths for argument in ("--config", str(path))])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_config_parses_and_names_its_stage(path):
    config = parse(path)
    wanted = "GRPOModule" if path in GRPO else "DistillModule" if path in DISTILL else "SFTModule"
    assert config.model.class_path.endswith(wanted)
    names = {callback.class_path.split(".")[-1] for callback in config.trainer.callbacks}
    english = path.is_relative_to(ROOT / "real") and "MultipleChoiceProbe" in names  # asks no Chinese questions
    assert {"Evaluation", "DriftProbe" if english else "ReadingComprehensionProbe"} <= names
    if path not in ABLATION and path.stem not in ("reranker_grpo", "chrf_grpo"):
        assert ("SemanticReward" in names and "LanguageReward" in names) == (wanted == "GRPOModule")
    assert ("RewardSignal" in names) == (english and path in GRPO)
    root = Path(config.trainer.default_root_dir)
    assert root.name == path.stem and root.parent.name == path.parent.name


@pytest.mark.parametrize("path", ["embedder.yaml", "new_language/embedder.yaml"])
def test_the_embedders_config_names_its_stage_and_scores_without_a_callback(path):
    config = parse(ROOT / path)
    assert config.model.class_path.endswith("EmbedderModule") and config.model.init_args.micro_batch == 64
    assert config.trainer.callbacks is None
    assert Path(config.trainer.default_root_dir) == Path("runs", path).with_suffix("")
    assert all(config.data.init_args[part] for part in ("train", "validation", "test"))


def test_the_abilities_overlay_adds_probes_and_nothing_else():
    plain = parse(ROOT / "quickstart" / "strong_sft.yaml")
    config = parse(ROOT / "quickstart" / "strong_sft.yaml", PROBES)
    assert config.trainer.callbacks[:3] == plain.trainer.callbacks
    added = [callback.class_path.split(".")[-1] for callback in config.trainer.callbacks[3:]]
    assert added == ["GenerationProbe", "GenerationProbe", "TranslationProbe"]
    assert (config.model, config.data) == (plain.model, plain.data)
    assert config.trainer.callbacks[3].init_args.prompt == default_prompt("zh")


def test_paper_recipe_has_the_papers_figures():
    grpo = parse(ROOT / "paper" / "semantic_grpo.yaml").model.init_args
    assert (grpo.base, grpo.weights) == ("Qwen/Qwen3-4B", "nf4")
    assert (grpo.num_generations, grpo.temperature, grpo.top_p) == (8, 0.8, 0.9)
    assert grpo.optimizer.init_args.lr == 5e-7
    cold = parse(ROOT / "paper" / "cold_start.yaml")
    assert (cold.model.init_args.lora.r, cold.model.init_args.lora.alpha, cold.model.init_args.lora.dropout) == (
        64,
        128,
        0.05,
    )
    assert (cold.data.init_args.limit, cold.data.init_args.batch_size, cold.trainer.max_epochs) == (5000, 32, 2)
    assert cold.model.init_args.optimizer.init_args.lr == 2e-5


def weights(config) -> dict[str, float]:
    """Weights of the rewards by name."""
    names = {callback.class_path.split(".")[-1]: callback.init_args for callback in config.trainer.callbacks}
    return {name: given.weight for name, given in names.items() if name.endswith("Reward")}


@pytest.mark.parametrize("path", ABLATION, ids=lambda path: path.stem)
def test_the_ablation_changes_rewards_and_nothing_else(path):
    config, method = parse(path), parse(ROOT / "quickstart" / "semantic_grpo.yaml")
    given = weights(config)
    assert given != weights(method) or path.stem.startswith("source")
    assert given.pop("LanguageReward", 1.0) == 1.0 and sum(given.values()) == 1.5
    for one in (config, method):
        one.trainer.callbacks = [callback for callback in one.trainer.callbacks if "Reward" not in callback.class_path]
        del one.config, one.trainer.default_root_dir
    assert config == method


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_a_method_changes_one_thing_of_the_quickstart(path):
    """Rewards or settings of the module: all else is the recipe that the overlay's first line names."""
    name = "strong_sft" if path.stem == "dft" else "semantic_grpo"
    assert f"# Overlay for configs/quickstart/{name}.yaml" in path.read_text(encoding="utf-8")
    plain = parse(ROOT / "quickstart" / f"{name}.yaml")
    config = parse(ROOT / "quickstart" / f"{name}.yaml", path)
    assert config.trainer.default_root_dir == f"runs/methods/{path.stem}"
    module, plain_module = config.model.init_args, plain.model.init_args
    changed = {key: value for key, value in vars(module).items() if value != plain_module[key]}
    expected = {
        "dft": {"token_weight": "dft"},
        "best_of_group": {"loss_type": "best_of_group", "beta": 0.0},
        "hybrid": {"reference_nll_weight": 1.0, "reference_nll_schedule": "linear"},
        "cpo": {"loss_type": "cpo", "beta": 0.0},
        "chrf_reward": {},
        "shuffled": {"shuffle_rewards": True},
        "ebft": {},
    }
    assert changed == expected[path.stem]
    rewards, plain_rewards = ([c for c in one.trainer.callbacks if "Reward" in c.class_path] for one in (config, plain))
    assert (rewards == plain_rewards) == (path.stem not in ("cpo", "chrf_reward", "ebft"))
    assert sum(weights(config).values()) == sum(weights(plain).values())
    for one in (config, plain):
        one.trainer.callbacks = [callback for callback in one.trainer.callbacks if "Reward" not in callback.class_path]
        del one.config, one.trainer.default_root_dir, one.model
    assert config == plain


@pytest.mark.parametrize("path", SOURCE_ONLY, ids=lambda path: path.stem)
def test_source_only_stages_see_no_reference(path):
    config = parse(path)
    assert config.data.init_args.task.init_args.source_only
    assert weights(config) == {
        "SemanticReward": 1.0,
        "LengthReward": 0.2,
        "RepetitionReward": 0.05,
        "LanguageReward": 1.0,
    }
    rewards = {callback.class_path.split(".")[-1]: callback.init_args for callback in config.trainer.callbacks}
    assert rewards["SemanticReward"].anchor == "zh"
    assert rewards["LanguageReward"].gate and rewards["LanguageReward"].source == "zh"


def test_sg_srl_has_the_papers_epochs():
    stages = {stage: parse(ROOT / "sg_srl" / f"{stage}.yaml") for stage in ("train", "reinforce", "recover")}
    assert [stage.trainer.max_epochs for stage in stages.values()] == [3, 2, 1]
    assert stages["train"].data == stages["recover"].data


@cache
def read(folder: str) -> Study:
    """Study of a folder of configs; cached, as the check of a swept setting parses its recipe."""
    return read_study(ROOT / folder)


@pytest.mark.parametrize("folder", ["ablation", "frontier", "keep", "ladder", "map", "quickstart", "sg_srl"])
def test_studies_list_systems_that_are_there(folder):
    assert len(read(folder).systems) >= 3


def test_the_papers_study_is_the_same_on_the_miniature_world() -> None:
    """Systems, starts, labels and rows of the published tables; the YAML of the settings differs."""
    small, paper = (yaml.safe_load((ROOT / "study" / name / "study.yaml").read_text()) for name in STUDIES)
    for one in (small, paper):
        assert one["published"] == "../published.yaml"
        assert list(one["judge"]["pairs"].values())[0][0] == ["mt_strong_sft", "mt_semantic_grpo"]
    systems = [
        {name: (entry["from"], entry["label"]) for name, entry in one.items() if "from" in entry}
        for one in (small, paper)
    ]
    assert systems[0] == systems[1] and len(systems[0]) == 18
    assert paper["judge"]["set"] == {"temperature": "default"}, "gpt-5-mini answers 400 to any other temperature"
    tables = read_published(ROOT / "study" / "published.yaml")["tables"]
    assert {system for table in tables.values() for system in table["rows"]} == set(systems[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_the_papers_study_parses_with_the_papers_numbers(name: str) -> None:
    """`read_study` parses each recipe with the system's settings. Two tasks share recipes; each names its own data."""
    study = read(f"study/{name}")
    flags = {one.name: dict(zip(one.flags[::2], one.flags[1::2], strict=True)) for one in study.systems}
    tasks = {system: "Headline" in given.get("--data.init_args.task", "") for system, given in flags.items()}
    assert tasks == {system: not system.startswith("mt_") for system in flags}
    assert all("{encoder}" in given["--trainer.callbacks"] for given in flags.values())
    starts = {one.name: one.start for one in study.systems}
    assert [starts[f"few_from_{start}"] for start in ("base", "cold_start", "sft", "rl")] == [
        *("base", "mt_cold_start", "mt_strong_sft", "mt_semantic_grpo")
    ]
    assert study.encoder is not None and study.judge is not None and len(study.judge.pairs) == 2
    if name == "paper":
        encoder = dict(zip(study.encoder.flags[::2], study.encoder.flags[1::2], strict=True))
        assert encoder["--model.init_args.base"] == "hfl/cino-base-v2"
        assert flags["few_from_rl"]["--data.init_args.limit"] == "1000"


@pytest.mark.parametrize("folder", ["keep", "ladder"])
def test_variants_are_chosen_on_other_data_than_the_tests(folder):
    study = read(folder)
    assert study.frontier is not None and study.frontier.choose_on is not None and study.frontier.choose_seeds == 1
    validation, test = (
        yaml.safe_load((ROOT / "ladder" / name).read_text()) for name in ("validation.yaml", "sft.yaml")
    )
    files = [{c["init_args"].get("file") for c in one["trainer"]["callbacks"]} - {None} for one in (validation, test)]
    assert len(files[0]) == len(files[1]) == 4 and not files[0] & files[1]
    assert validation["data"]["init_args"]["test"] != test["data"]["init_args"]["test"]


def test_the_ladder_tries_three_rates_of_every_method():
    study = read("ladder")
    systems = {key: variants for key, variants in group(study.systems).items() if variants[0].sweep}
    rates = {key: {one.flags[one.flags.index(LR) + 1] for one in variants} for key, variants in systems.items()}
    heal = rates.pop("heal")
    assert len(rates) == 12 and all(tried == {"0.0003", "0.001", "0.003"} for tried in rates.values())
    assert heal == {"0.0001", "0.0003", "0.001"}


@pytest.mark.parametrize("folder", ["frontier", "quickstart"])
def test_strong_sft_is_compared_with_grpo_at_four_points_or_more(folder):
    frontier = read(folder).frontier
    assert frontier is not None and frontier.compare == (("strong_sft", "semantic_grpo"),)
    assert len(frontier.scales) >= 3, "and the finished adapter"


def test_both_methods_are_swept_over_the_same_learning_rates():
    systems = read("frontier").systems
    rates = ("0.0003", "0.001", "0.003")
    swept = [f"{system}.lr-{rate}" for system in ("strong_sft", "semantic_grpo") for rate in rates]
    assert [system.name for system in systems] == ["cold_start", *swept]
    assert {system.flags[1] for system in systems[1:]} == set(rates)


@pytest.mark.parametrize("stage", ["strong_sft", "semantic_grpo"])
def test_the_frontier_keeps_steps_and_trains_as_the_quickstart(stage):
    config, quickstart = (parse(ROOT / folder / f"{stage}.yaml") for folder in ("frontier", "quickstart"))
    kept, *config.trainer.callbacks = config.trainer.callbacks
    assert kept.class_path.endswith("KeepSteps") and kept.init_args.every_n_steps == 40
    for one in (config, quickstart):
        del one.config, one.trainer.default_root_dir
    assert config == quickstart


def test_a_wrong_key_is_refused(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text((ROOT / "paper" / "cold_start.yaml").read_text().replace("micro_batch_tokens", "micro_batch"))
    with pytest.raises(UsageError):
        parse(bad)

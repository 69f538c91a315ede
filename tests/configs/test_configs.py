"""Every shipped config parses, and names the stage that its file name says."""

from pathlib import Path

import pytest

import semalign_pl.cli as cli
from semalign_pl.data import CorpusDataModule
from semalign_pl.modules import AlignModule

ROOT = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(path for path in ROOT.rglob("*.yaml") if path.parents[1].name != "cards")  # those: tests/plan


def parse(path: Path):
    """The config as ``semalign fit`` understands it, without making anything of it."""
    parser = cli.Parser()
    parser.add_argument("--config", action=cli.ActionConfigFile)
    parser.add_argument("--seed_everything", type=int)
    parser.add_lightning_class_args(cli.Trainer, "trainer")
    parser.add_lightning_class_args(AlignModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(CorpusDataModule, "data", subclass_mode=True)
    return parser.parse_args(["--config", str(path)])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_config_parses_and_names_its_stage(path):
    config = parse(path)
    wanted = "GRPOModule" if "grpo" in path.stem else "SFTModule"
    assert config.model.class_path.endswith(wanted)
    names = {callback.class_path.split(".")[-1] for callback in config.trainer.callbacks}
    assert {"Evaluation", "ReadingComprehensionProbe"} <= names
    assert ("SemanticReward" in names and "LanguageReward" in names) == (wanted == "GRPOModule")
    root = Path(config.trainer.default_root_dir)
    assert root.name == path.stem and root.parent.name == path.parent.name


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


def test_a_wrong_key_is_refused(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text((ROOT / "paper" / "cold_start.yaml").read_text().replace("micro_batch_tokens", "micro_batch"))
    with pytest.raises(cli.UsageError):
        parse(bad)

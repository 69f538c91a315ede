"""When is semantic RL worth its cost? Train the same systems in worlds of other pairs and other styles.

python benchmarks/map.py --dry-run                   # commands and expected core hours
python benchmarks/map.py --seeds 3    # the grid; writes results/map.json and .png, docs/results/map.md
python benchmarks/map.py --only pairs-300-style-1:0  # one condition and seed; without :0, all seeds
python benchmarks/map.py --only pairs-1000-style-0-noise-0.2   # a condition that runs only when it is named
python benchmarks/map.py --collect                   # only the table, from the files that are kept

A cell is one condition and one seed. What it measured is kept in results/map/CONDITION/seed_N.json, test by test, so
that cells can be run in any order and on several machines, and an interrupted cell goes on. On another machine it first
trains encoder and cold start anew, which are not equal to the last digit. The world of a condition is the same for all
seeds: seed 0. The systems are those of configs/map; all train for a fixed number of steps.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
import harness

if TYPE_CHECKING:
    from semalign_pl.study.protocol import Step
    from semalign_pl.study.systems import Study

SECONDS = 2400.0
"""Guess of the seconds of a cell on one core, until one is kept: six times 120 to 330 for GRPO, and the rest."""
CORE = {
    f"pairs-{pairs}-style-{style:g}": {"pairs": str(pairs), "style": f"{style:g}"}
    for pairs in (300, 1000, 10_000)
    for style in (0.0, 0.5, 1.0)
}
"""Options of ``toy write`` by condition."""
EXTRA = {
    "pairs-1000-style-0-noise-0.2": {**CORE["pairs-1000-style-0"], "noise": "0.2"},
    "pairs-1000-style-0-breadth-0.5": {**CORE["pairs-1000-style-0"], "breadth": "0.5"},
}
"""Conditions that are run only when they are named."""
CONDITIONS = CORE | EXTRA
Cell = tuple[str, int]
"""Condition and seed."""


def cells_of(only: list[str], seeds: int) -> list[Cell]:
    """Cells to run, in order.

    Args:
        only: Conditions, each with a seed after a colon or without; empty for the whole grid.
        seeds: Number of seeds where none is named.

    Raises:
        ValueError: If a condition or a seed does not exist; names it and the remedy.
    """
    found: dict[Cell, None] = {}
    for text in only or CORE:
        name, colon, seed = text.partition(":")
        if name not in CONDITIONS:
            raise ValueError(f"--only {text}: there is no condition {name}; give one of {', '.join(CONDITIONS)}")
        if colon and not seed.isdecimal():
            raise ValueError(f"--only {text}: {seed!r} is no seed; give a number such as {name}:0")
        found |= dict.fromkeys((name, number) for number in ([int(seed)] if colon else range(seeds)))
    return list(found)


def world_command(name: str, folder: Path, models: Path) -> list[str]:
    """Arguments of ``python -m semalign_pl.toy`` that write the world of a condition.

    Args:
        name: Condition.
        folder: Folder of the world.
        models: Folder of the models that know all styles.
    """
    options = [word for key, value in CONDITIONS[name].items() for word in (f"--{key}", value)]
    return ["write", str(folder), *options, "--source-only", "10000", "--target-only", "3000", "--models", str(models)]


def copy_configs(configs: Path, folder: Path, made: Path) -> None:
    """Copy the recipes with the paths of a condition.

    Args:
        configs: Folder of the recipes, whose paths begin with ``runs/map/``.
        folder: Folder of the condition.
        made: Folder of the copies.
    """
    for path in sorted(configs.rglob("*.yaml")):
        copy = made / path.relative_to(configs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8").replace("runs/map/", f"{folder.as_posix()}/")
        copy.write_text(text, encoding="utf-8")


def expected_hours(cells: list[Cell], kept: Mapping[Cell, float]) -> float:
    """Expected hours of the cells that are not kept, by the mean seconds of those that are.

    Args:
        cells: Cells to run.
        kept: Seconds of each kept cell.
    """
    each = sum(kept.values()) / len(kept) if kept else SECONDS
    return each * len([cell for cell in cells if cell not in kept]) / 3600


def command_of(cells: list[Cell]) -> str:
    """Command that measures cells.

    Args:
        cells: Cells of a table.
    """
    names = list(dict.fromkeys(name for name, _ in cells))
    seeds = range(1 + max((seed for _, seed in cells), default=-1))
    if {*cells} == {(name, seed) for name in names for seed in seeds}:
        words = ["--seeds", str(len(seeds)), *([] if {*names} == {*CORE} else ["--only", *names])]
    else:
        words = ["--only", *(f"{name}:{seed}" for name, seed in cells)]
    return shlex.join(["python", "benchmarks/map.py", *words])


def steps_of(cell: Cell, study: Study, folder: Path) -> list[Step]:
    """Steps of a cell, those that all systems share first.

    Args:
        cell: Condition and seed.
        study: Study in the copied recipes.
        folder: Folder of the condition.
    """
    from semalign_pl.study.protocol import steps
    from semalign_pl.study.systems import BASE, SHARED

    every = steps(study, folder, cell[1] + 1)
    return [step for step in every if step.seed == cell[1] or step.system in (BASE, *SHARED)]


def print_cell(cell: Cell, options: argparse.Namespace) -> None:
    """Print the commands of a cell; nothing is written where it would run."""
    from semalign_pl.study.study_file import read_study

    folder: Path = options.out / cell[0]
    world = world_command(cell[0], folder / "world", options.models)
    print(shlex.join(["python", "-m", "semalign_pl.toy", *world]))
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        copy_configs(options.config, folder, made)
        for step in steps_of(cell, read_study(made), folder):
            print(f"semalign {shlex.join(step.args)}".replace(temporary, (folder / "configs").as_posix()))


def prepare(name: str, options: argparse.Namespace) -> tuple[Path, Path]:
    """Write world and recipes of a condition. Return the condition's folder and that of the recipes.

    Args:
        name: Condition.
        options: Options of the command line.

    Raises:
        SystemExit: If the world cannot be written, or a world that is there was written with other models.
    """
    from semalign_pl.toy.__main__ import main as toy

    folder: Path = options.out / name
    world = folder / "world"
    if not (world / "world.json").is_file():
        shutil.rmtree(world, ignore_errors=True)
        if status := toy(world_command(name, world, options.models)):
            sys.exit(status)
    elif read_models(world) != read_models(options.models):
        sys.exit(
            f"{world}: its base and encoder are not those of --models {options.models}; give the models that it was "
            "written with, or another --out"
        )
    copy_configs(options.config, folder, folder / "configs")
    return folder, folder / "configs"


def read_models(folder: Path) -> dict[Path, bytes]:
    """Files of base and encoder in a folder of models, or in a world, which has copies of them."""
    from semalign_pl.toy.write import MODELS

    files = (file for model in MODELS for file in (folder / model).rglob("*") if file.is_file())
    return {file.relative_to(folder): file.read_bytes() for file in files}


def measure_cell(cell: Cell, options: argparse.Namespace) -> None:
    """Run the steps of a cell that are not kept, and keep the results of each test at once."""
    from map_table import MEANING, SHOWN, STYLES
    from seed_file import digest_of, read_seeds, write_seed
    from seed_runs import Plan, measure_steps
    from sentence_transformers import SentenceTransformer

    from semalign_pl import __version__
    from semalign_pl.run.digests import Digests
    from semalign_pl.study.run_step import run_step
    from semalign_pl.study.study_file import read_study
    from semalign_pl.study.systems import ENCODER, SHARED
    from semalign_pl.toy.evaluate import style_encoder

    name, seed = cell
    folder, configs = prepare(name, options)
    study = read_study(configs)
    plan = Plan(study, configs, folder, harness.RESULTS / "map" / name, SHOWN, optional=STYLES, items=(MEANING,))
    digests = Digests(folder / "digests.json")
    expected = digest_of(study, configs, digests)
    facts = {"seed": seed, "digest": expected, "version": __version__, "machines": [], "validation": {}, "runs": {}}
    content = read_seeds(plan.kept, expected).get(seed, {"condition": CONDITIONS[name], **facts})
    if content.get("complete"):
        print(f"{name}, seed {seed}: kept in {plan.kept}", flush=True)
        return
    if (machine := harness.machine()) not in content["machines"]:
        content["machines"].append(machine)
    every = steps_of(cell, study, folder)
    content["shared_seconds"] = {step.name: run_step(step, digests).seconds for step in every if step.system in SHARED}
    trained = SentenceTransformer(str(folder / ENCODER / "encoder"), device="cpu")
    content["encoder"] = style_encoder(trained, 0)
    measure_steps(plan, content, [step for step in every if step.system not in SHARED], "runs", digests)
    content["complete"] = True
    write_seed(plan.kept, content)


def parser() -> argparse.ArgumentParser:
    """Parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    made.add_argument("--only", nargs="+", default=[], metavar="CONDITION[:SEED]", help="cells to run")
    made.add_argument("--dry-run", action="store_true", help="print commands and expected core hours")
    made.add_argument("--collect", action="store_true", help="run nothing; make the table of the kept cells")
    made.add_argument("--models", type=Path, default=Path("benchmarks/map_models"), help="of `toy build --styles`")
    made.add_argument("--config", type=Path, default=Path("configs/map"))
    made.add_argument("--out", type=Path, default=Path("runs/map"))
    return made


def main() -> None:
    """Run the cells that are not kept yet, and make the table of all kept ones."""
    options = parser().parse_args()
    from map_page import write_results
    from map_table import read_cells, seconds_of

    cells = cells_of(options.only, options.seeds)
    if not options.collect:
        for cell in cells:
            (print_cell if options.dry_run else measure_cell)(cell, options)
    kept = read_cells(harness.RESULTS / "map")
    if options.dry_run:
        seconds = {(name, seed): seconds_of(one) for name, of in kept.items() for seed, one in of.items()}
        print(f"# {len(cells)} cells, about {expected_hours(cells, seconds):.1f} core hours for those not kept")
        return
    write_results(kept, options.config, command_of([(name, seed) for name, of in kept.items() for seed in of]))


if __name__ == "__main__":
    from seed_file import SeedError

    try:
        main()
    except (SeedError, ValueError) as error:
        sys.exit(str(error))

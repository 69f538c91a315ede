"""One self-contained HTML page: the comparison at equal quality first, then all that is needed to check it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from semalign_pl.files.documents import read_json
from semalign_pl.files.html_page import page_style, security_policy, write_html_page
from semalign_pl.messages.terminal import visible

from .chart import Chart
from .drift_charts import drift_charts, read_histograms
from .files import find_point, read_logs
from .fonts import embed_fonts
from .forward_kl import forward_kl_charts
from .frontier_chart import charts_by_task
from .hypervolumes import list_areas
from .json_values import get_object
from .judge_sentences import judge_sentences
from .ledger_tables import read_ledger
from .measured_curves import cost_title, points_of, read_curves
from .paper_tables_text import render_tables
from .picture import quality_against_tax
from .recipes import Difference, differences, read_recipe, read_tasks
from .results import BASE, REMEDY, Results, column_of, load_results, parse, parse_metrics
from .run_facts import list_facts, list_numbers
from .samples import read_samples, to_script_json
from .task_table import by_task, task_table, titles_of
from .tested import list_tested
from .training_charts import has_reward, training_charts
from .verdict import verdicts

PICTURE, PAGE, TEMPLATE = "quality_against_tax.png", "report.html", "page/report.html.jinja"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` and ``quality_against_tax.png`` next to the ``results.json`` of a study.

    Each further task of the study has a picture of its own, ``quality_against_tax_2.png`` and so on.

    Args:
        folder: Folder of the study, with ``results.json`` and, in a folder per system (or ``seed-<n>/<system>``),
            what its runs wrote, all of it optional: ``predictions.jsonl``, ``items.jsonl``, ``results.json``,
            ``metrics.csv``, ``fit.yaml``, ``test.yaml``, and ``points/<name>/`` with the same files per point.

    Returns:
        Path of the page. The page loads nothing: pictures, styles, fonts and data are inline.

    Raises:
        ValueError: If ``results.json`` is missing, or it or another file is malformed; the message names the file and
            the remedy. So is a test whose numbers are not those of the study's ``results.json``.
    """
    from markupsafe import Markup

    results = load_results(folder / "results.json")
    parsed = parse(results)
    _check_tests(folder, results, parsed)
    tasks, measured = read_tasks(folder, parsed), read_curves(results, parsed)
    groups = by_task(results, parsed, tasks)
    for number, of_task in enumerate(groups.values(), start=1):
        quality_against_tax(of_task, folder / (PICTURE if number == 1 else PICTURE.replace(".", f"_{number}.")))
    members = zip(titles_of(groups), (parse(one).systems for one in groups.values()), strict=True)
    samples, ledger = read_samples(folder, results, parsed, tasks), read_ledger(results, parsed)
    data = to_script_json(samples.data)
    recipes, name = _recipes(folder, parsed), visible(folder.resolve().name)
    fonts = embed_fonts(f"{data}{results}{recipes}{name}")
    script = _text("page.js")
    style = page_style() + _text("report.css") + fonts.style
    page = folder / PAGE
    write_html_page(
        page,
        "semalign_pl.report",
        TEMPLATE,
        policy=security_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=Markup(data),
        name=name,
        verdicts=verdicts(results),
        plot=Chart,
        measured=measured,
        quality=column_of(measured.quality),
        frontier=charts_by_task(measured, parsed, members),
        several_seeds=len(parsed.seeds or []) != 1,
        areas=list_areas(results, parsed, measured.costs),
        cost_titles=[cost_title(column_of(cost)) for cost in measured.costs],
        tested=list_tested(folder, results, parsed, tasks),
        table=task_table(results, parsed, tasks),
        ledger=ledger,
        published=render_tables(results, parsed),
        judged=judge_sentences(results, parsed),
        source=get_object(results, "published").get("source", ""),
        drift=drift_charts(read_histograms(folder, parsed), parsed),
        training=_training(folder, parsed),
        forward_kl=forward_kl_charts(results, measured, parsed),
        samples=samples,
        recipes=recipes,
        numbers=list_numbers(parsed),
        facts=list_facts(parsed.run),
        fonts=fonts,
    )
    return page


def _check_tests(folder: Path, results: Mapping[str, object], parsed: Results) -> None:
    """Refuse tests with other values than ``results.json`` has, as after an interrupted rerun of an edited study.

    A metric that only one of the two has, such as a judge's wins, is not compared.
    """
    seeds = [f"seed-{seed}" for seed in parsed.seeds or ()] or [""]
    for system in parsed.systems:
        for point, metrics in points_of(results, system).items():
            found = find_point(folder, parsed.folder_of(system), point, "results.json", parsed.seeds)
            for seed, path in found.items():
                tested = parse_metrics(get_object(read_json(path, f"{REMEDY}."), "metrics"), str(path))
                for name in (name for name in metrics if name in tested):
                    values = metrics[name].seeds or (metrics[name].value,)
                    value, joined = tested[name].value, dict(zip(seeds, values, strict=False)).get(seed)
                    if joined not in (None, value):
                        raise ValueError(
                            f"{visible(path)}: is of another test than {visible(folder / 'results.json')}: "
                            f"{visible(name)} is {value} and not {joined}; run semalign study again"
                        )


def _text(name: str) -> str:
    return (files("semalign_pl.report") / "page" / name).read_text(encoding="utf-8")


def _training(folder: Path, parsed: Results) -> list[tuple[str, list[Chart], list[str]]]:
    """Title, charts and seeds of each system that logged a reward."""
    training: list[tuple[str, list[Chart], list[str]]] = []
    for system in parsed.systems:
        every = read_logs(folder, parsed.folder_of(system), parsed.seeds)
        logs = {seed: rows for seed, rows in every.items() if has_reward(rows)}
        if logs:
            training.append((parsed.title_of(system), training_charts(logs), [seed for seed in logs if seed]))
    return training


def _recipes(folder: Path, parsed: Results) -> tuple[str, list[tuple[str, list[Difference]]]]:
    """Title of the system with the base recipe, and the differences of every other recipe from it, with its title."""
    recipes = {s: read_recipe(folder, parsed.folder_of(s), ("fit.yaml",)) for s in parsed.systems if s != BASE}
    recipes = {system: recipe for system, recipe in recipes.items() if recipe}
    first = next(iter(recipes), "")
    others = [
        (parsed.title_of(system), differences(recipes[first], recipe))
        for system, recipe in recipes.items()
        if system != first
    ]
    return parsed.title_of(first) if first else "", others

"""Page and picture of the map, written from its results: no number in them is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
from frontier_report import mean, write
from map_chart import chart
from map_table import BUDGET, MEANING, Cells, Row, collect, place_of
from real_page import table
from seed_file import SeedError
from study_points import loss

from semalign_pl.files.atomic import write_text
from semalign_pl.study.study_file import read_study
from semalign_pl.study.systems import Study

PAGE = Path("docs/results/map.md")
PICTURE = PAGE.with_suffix(".png")
RL = ("semantic_grpo", "grpo_anchor", "source_only", "source_only_pairs", "best_of_group")
"""Systems with GRPO's rollouts whose rewards know the pairs and no more; style_blind_grpo's knows the language."""
INFORMED = ("style_blind_grpo",)
"""Systems whose reward knows more than the pairs."""
MECHANISM = {
    MEANING: ("meaning", 100, 1),
    "chrf_any_style": ("chrF", 1, 1),
    "cmrc_f1": ("CMRC F1", 1, 1),
    "nll_change_mean": ("NLL, Chinese", 1, 3),
    "styles_nll_change_mean": ("NLL, other wordings", 1, 3),
    "styles_kl_mean": ("KL, other wordings", 1, 3),
    "style_variation": ("style distance", 1, 2),
}
"""Title, factor and digits of the columns of the table of losses."""
LIMITS = (("cmrc_f1", 2.0), ("cmrc_f1", 20.0), ("styles_nll_change_mean", 0.5), ("cmrc_f1", 100.0))
"""Losses that a user may accept, by metric: the columns of the table of choices."""
NARROWER = ("sft", "semantic_grpo")
"""Pair whose difference is followed from wide to narrow references."""


def summary(content: Mapping[str, Any], rl: Sequence[str], titles: Mapping[str, str]) -> str:
    """Count where RL costs less and more than SFT at matched quality; list the first, or without any state the power.

    Args:
        content: Result of `collect`.
        rl: Systems with GRPO's rollouts.
        titles: Titles of systems.
    """
    rows = [row for row in content["differences"] if row["matched"] == "quality" and row["value"] is not None]
    rows = [row for row in rows if row["b"] in rl and row["a"] not in rl]
    if not rows:
        return "No RL and SFT reach a common quality in any measured condition."
    won, lost = ([row for row in rows if row["better"] == row[side]] for side in "ba")
    costs = len({row["metric"] for row in rows})
    found = (
        f"RL whose reward knows the pairs alone is compared with plain or kept SFT at equal chrF {len(rows):,} times, "
        f"in {costs} costs: it loses less in {len(won)}, more in {len(lost)}, and "
        f"{len(rows) - len(won) - len(lost)} are not distinguishable."
    )
    wins = [
        f"- {row['condition']}: {titles[row['b']]} against {titles[row['a']]}, {MECHANISM[row['metric']][0]} "
        f"{row['value']:+.2f} ({row['ci'][0]:+.2f} to {row['ci'][1]:+.2f}) at chrF {row['at']:.1f}"
        for row in won
    ]
    if wins:
        return "\n".join([f"{found} Less:\n", *wins])
    halves = sorted((row["ci"][1] - row["ci"][0]) / 2 for row in rows if row["metric"] == "cmrc_f1")
    power = f" Half of the intervals of CMRC F1 are narrower than ±{halves[len(halves) // 2]:.1f}." if halves else ""
    return f"No condition was found where RL costs less.\n{found}{power}"


def markdown(content: Mapping[str, Any], study: Study) -> str:
    """Page of the results: summary, decision table, encoders, losses by system, and what narrower references change.

    Args:
        content: Result of `collect`.
        study: Study, for the titles of systems.
    """
    titles = {one.key: one.label or one.key for one in study.systems}
    sections = [
        "# When is semantic RL worth its cost?",
        f"<!-- written by `python benchmarks/map.py --collect` from {len(content['conditions'])} conditions -->\n"
        f"{summary(content, RL, titles)}",
        _seeds(content),
        f"![quality against CMRC F1 lost, a panel per condition]({PICTURE.name})",
        "## What to use",
        "The system and scale with the highest meaning accuracy (then chrF) among those that lose no more than this, "
        "by means\nover seeds. Systems whose reward knows more than the pairs are left out.",
        table(
            [
                "condition",
                *("any loss" if most >= 100 else f"{MECHANISM[name][0]} by {most:g}" for name, most in LIMITS),
            ],
            list(_choices(content, titles)),
        ),
        "## Two systems at a time",
        "Differences with 95 % intervals over seeds and test items: of the loss of CMRC F1 at the largest chrF that "
        "both reach\n(points; below 0, the first loses less), and of meaning accuracy at the largest loss of CMRC F1 "
        "that both reach (points;\nabove 0, the first translates better). chrF has all wordings of a meaning as "
        "references, and accuracy is by the world's\nparser, so neither favours a style. Bold: beyond chance after "
        "Holm's correction over the whole map.",
        *_comparisons(content, titles),
        "## What the rewards' encoders know",
        "Mean cosines of Tibetan texts: one meaning in two styles, one wrong slot, unrelated meanings. An encoder that "
        "is blind\nto style has the first near 1, and a useful one has the second well below it.",
        table(["condition", "two styles", "one wrong slot", "unrelated"], list(_encoders(content))),
        "## What each system loses, at its end",
        "Mean over seeds. Other wordings are correct translations in the style that differs most from the narrow one. "
        "Style\ndistance is the total variation distance of the outputs' styles from the base's, which are even.",
        table(["condition", "system", *(title for title, _, _ in MECHANISM.values())], list(_ends(content, titles))),
        "## What each system was trained on",
        "Mean over conditions, of its own training, without that of the adapter it starts from, the encoder and the "
        "translator of\nback-translation.",
        table(["system", "updates", "rows", "sampled tokens"], list(_budgets(content, titles))),
        "## Do narrower references make RL worth more?",
        "\n".join(trends(content)) or "Not measured: it needs one number of pairs with styles 0 and 1.",
    ]
    return "\n\n".join(section.rstrip("\n") for section in sections) + "\n"


def _seeds(content: Mapping[str, Any]) -> str:
    """Sentences about the conditions, their seeds and the machines."""
    seeds = [len(one["seeds"]) for one in content["conditions"].values()]
    machines = sorted({name for one in content["conditions"].values() for name in one["machines"]})
    many = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    return (
        f"{len(seeds)} conditions of the miniature world, with {many} seed{'s' * (max(seeds) > 1)} each. Style is the "
        "probability that a training reference\nhas the one narrow style; test references have all styles. "
        f"Measured on {', '.join(machines)}."
        f"{' Where there is one seed, intervals are over test items alone.' * (min(seeds) == 1)}"
    )


def _comparisons(content: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[str]:
    """Heading and table of each pair of systems: rows by corpus, a column per style of its references."""
    rows = [row for row in content["differences"] if row["metric"] == "cmrc_f1"]
    places = {name: place_of(one["options"]) for name, one in content["conditions"].items()}
    styles = sorted({style for _, style in places.values()})
    for a, b in dict.fromkeys((row["a"], row["b"]) for row in rows):
        cells = {
            (*places[row["condition"]], row["matched"]): _difference(row)
            for row in rows
            if (row["a"], row["b"]) == (a, b)
        }
        lines = [
            [corpus, measure, *(cells.get((corpus, style, matched), "not measured") for style in styles)]
            for corpus in dict.fromkeys(corpus for corpus, _ in places.values())
            for matched, measure in (("quality", "F1 lost, equal chrF"), ("cost", "meaning, equal loss"))
        ]
        yield f"### {titles[b]} against {titles[a]}"
        yield table(["training pairs", "difference", *(f"style {style:g}" for style in styles)], lines)


def _choices(content: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[list[str]]:
    for name, condition in content["conditions"].items():
        points = {
            (system, at): point
            for system, one in condition["systems"].items()
            if system not in INFORMED
            for at, point in one["points"].items()
        }
        cells = []
        for metric, most in LIMITS:
            within = {key: one for key, one in points.items() if loss(condition["base"], one, metric) <= most}
            best = max(within, key=lambda key: (within[key][MEANING], within[key]["chrf_any_style"]), default=None)
            if best is None:
                cells.append("none")
                continue
            scale = "" if best[1] == "end" else f", {best[1].replace('-', ' ')}"
            meaning, chrf = within[best][MEANING], within[best]["chrf_any_style"]
            cells.append(f"{titles[best[0]]}{scale}: {100 * meaning:.1f} %, chrF {chrf:.1f}")
        yield [name, *cells]


def _encoders(content: Mapping[str, Any]) -> Iterator[list[str]]:
    found = {name: one["encoder"] for name, one in content["conditions"].items()}
    for name, one in found.items():
        wrong = {int(slots): value for slots, value in one["mean_cos_by_wrong_slots"].items()}
        yield [name, *(f"{value:.3f}" for value in (one["mean_cos_drawn_styles"], wrong[1], one["mean_cos_unrelated"]))]


def _ends(content: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[list[str]]:
    for name, condition in content["conditions"].items():
        ends = {"base": condition["base"]} | {key: one["points"]["end"] for key, one in condition["systems"].items()}
        for system, end in ends.items():
            columns = [(end.get(metric), factor, digits) for metric, (_, factor, digits) in MECHANISM.items()]
            cells = ["–" if value is None else f"{factor * value:.{digits}f}" for value, factor, digits in columns]
            yield [name, titles.get(system, system), *cells]


def _budgets(content: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[list[str]]:
    conditions = [one["systems"] for one in content["conditions"].values()]
    for system in conditions[0]:
        means = [mean([one[system]["budget"][key] for one in conditions]) for key in BUDGET if key != "seconds"]
        yield [titles[system], *(f"{value:,.0f}" for value in means)]


def trends(content: Mapping[str, Any]) -> Iterator[str]:
    """Change of the difference of `NARROWER` from references in all styles to references in one, by number of pairs.

    The two conditions have no data in common but the test items, so their intervals are added as independent ones.
    """
    found = {
        (row["condition"], row["metric"]): row
        for row in content["differences"]
        if (row["a"], row["b"]) == NARROWER and row["matched"] == "quality" and row["value"] is not None
    }
    for wide in [name for name in content["conditions"] if name.endswith("-style-0")]:
        narrow = wide.removesuffix("0") + "1"
        for metric in dict.fromkeys(metric for _, metric in found):
            if (wide, metric) in found and (narrow, metric) in found:
                one, other = found[wide, metric], found[narrow, metric]
                change = other["value"] - one["value"]
                half = sum(((row["ci"][1] - row["ci"][0]) / 2) ** 2 for row in (one, other)) ** 0.5
                verdict = "not distinguishable from none" if abs(change) <= half else "beyond its interval"
                yield (
                    f"- {wide.removesuffix('-style-0')}: loss of {metric} at equal quality, {NARROWER[1]} minus "
                    f"{NARROWER[0]}, from style 0 to style 1: {change:+.3f} ± {half:.3f}, {verdict}."
                )


def _difference(row: Row) -> str:
    """Cell of a difference; of meaning in points."""
    if row["value"] is None:
        return "no common range"
    factor = 100.0 if row["matched"] == "cost" else 1.0
    value, low, high = (factor * number for number in (row["value"], *row["ci"]))
    cell = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{cell}**" if row["better"] else cell


def write_results(cells: Cells, configs: Path, command: str) -> None:
    """Write results/map.json, the picture and the page of the docs.

    Args:
        cells: Content of the files by condition and seed.
        configs: Folder of the recipes.
        command: Command that measures the cells.

    Raises:
        SeedError: If no cell was measured to the end.
    """
    if not cells:
        raise SeedError(f"{harness.RESULTS / 'map'}: no cell is measured to the end; run one, such as --only NAME:0")
    study = read_study(configs)
    content = collect(cells, study)
    PAGE.parent.mkdir(exist_ok=True)
    chart(content, study, PICTURE)
    write_text(PAGE, markdown(content, study))
    print(markdown(content, study))
    write("map", {**content, "command": command})

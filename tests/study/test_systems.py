"""``study.yaml``: its allowed content, and messages about mistakes."""

import pytest

from semalign_pl.__main__ import main
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.study_file import read_study
from semalign_pl.study.systems import System

FRONTIERS = {
    "true": "frontier: True is no mapping; write `frontier: {quality: chrf",
    "{steps: 3}": "frontier.steps: there is no such key; it has quality, costs, scales, scale_from, compare, at",
    "{quality: [chrf, bleu4]}": "frontier.quality: there are 2 metrics; name one",
    "{quality: 3}": "frontier.quality: 3 is no list",
    "{costs: []}": "frontier.costs: is empty; name a metric",
    "{costs: [3]}": "frontier.costs: 3 is not the name of a metric",
    "{scales: 0.5}": "frontier.scales: 0.5 is no list",
    "{scales: [half]}": "frontier.scales: 'half' is not a number",
    "{scales: [.nan]}": "frontier.scales: nan is not a number",
    "{scales: [true]}": "frontier.scales: True is not a number",
    "{scales: [0.5, 1]}": "frontier.scales: 1 is not from 0 to below 1; 1 is the finished adapter itself",
    "{scale_from: cold}": "frontier.scale_from: 'cold' is neither base nor start",
    "{compare: [a, b]}": "frontier.compare: 'a' is no list; write a list of pairs of systems",
    "{compare: [[a, a]]}": "frontier.compare: ['a', 'a'] is no pair",
    "{compare: [[a, b, a]]}": "frontier.compare: ['a', 'b', 'a'] is no pair",
    "{compare: [[a, base]]}": "frontier.compare: there is no system 'base'; name two of a, b",
    "{compare: [[[a], b]]}": "frontier.compare: there is no system ['a']; name two of a, b",
    "{at: [.inf]}": "frontier.at: inf is not a number",
    "{choose_on: c.yaml}": "frontier.choose_on: there is no config 'c.yaml' in",
    "{choose_seeds: 1}": "frontier.choose_seeds: is the number of seeds of choose_on; name that config",
    "{choose_on: a.yaml, choose_seeds: 0}": "frontier.choose_seeds: 0 is not a positive number",
    "{choose_on: a.yaml}": "frontier.choose_on: no system has variants to choose among; list values in `over`",
}


@pytest.fixture
def folder(tmp_path):
    """Configs ``a.yaml`` and ``b.yaml``; their content is not read here."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").touch()
    return tmp_path


def test_systems_stand_in_order_with_their_defaults(folder):
    (folder / "study.yaml").write_text("b: {from: base, label: Best}\na: {from: b}\nc: {from: b, config: ./a.yaml}\n")
    assert read_study(folder).systems == [
        System("b", folder / "b.yaml", "base", "Best"),
        System("a", folder / "a.yaml", "b"),
        System("c", folder / "a.yaml", "b"),
    ]


def test_a_frontier_has_defaults_and_compares_the_finished_systems(folder):
    systems = "a: {from: base}\nb: {from: a}\nc: {from: a, config: a.yaml}\nd: {from: base, config: b.yaml}\n"
    (folder / "study.yaml").write_text(f"{systems}frontier:\n")
    pairs = (("b", "c"), ("b", "d"), ("c", "d"))
    assert read_study(folder).frontier == FrontierSettings(compare=pairs)
    (folder / "study.yaml").write_text("a: {from: base}\nb: {from: a}\nfrontier: {}\n")
    assert read_study(folder).frontier == FrontierSettings(compare=(("a", "b"),)), "of two, one is the other's start"
    (folder / "study.yaml").write_text(
        "frontier: {quality: bleu4, costs: kl_mean, scales: [0.9, 0, 0.9], scale_from: start, compare: [[b, a]], "
        "at: [3]}\na: {from: base}\nb: {from: a}\n"
    )
    assert read_study(folder).frontier == FrontierSettings(
        "bleu4", ("kl_mean",), (0.0, 0.9), "start", (("b", "a"),), (3.0,)
    )
    (folder / "study.yaml").write_text(systems)
    assert read_study(folder).frontier is None


def test_what_is_listed_twice_is_compared_once(folder):
    """Holm's correction would count it twice."""
    frontier = "{costs: [kl_mean, kl_mean], at: [60, 50, 60.0], compare: [[b, a], [a, b]]}"
    (folder / "study.yaml").write_text(f"frontier: {frontier}\na: {{from: base}}\nb: {{from: a}}\n")
    found = read_study(folder).frontier
    assert found is not None and (found.costs, found.at, found.compare) == (("kl_mean",), (60.0, 50.0), (("b", "a"),))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("frontier: {}", "must list systems"),
        ("a: {from: base, over: {lr: [1]}}", "a.over: the best variant is chosen by its frontier; add a key such as"),
        ("frontier: {}\na: {from: frontier}", "a.from: 'frontier' is not listed above it"),
        *((f"a: {{from: base}}\nb: {{from: base}}\nfrontier: {value}", said) for value, said in FRONTIERS.items()),
        ("encoder: {config: b.yaml}\na: {from: base}", 'encoder: no system uses it; write "{encoder}" for its folder'),
        ("a: [", "not valid YAML"),
        ("", "must list systems"),
        ("- a", "must list systems"),
        ("a: base", "a: does not name the system that it starts from; write `a: {from: base}`"),
        ("a: {config: a.yaml}", "a: does not name the system that it starts from"),
        ("a: {from: base, seeds: 3}", "a.seeds: there is no such key; it has from, config, label"),
        ("a: {from: base, label: 3}", "a.label: 3 is not text"),
        ("a: {from: cold}", "a.from: 'cold' is not listed above it; name one of base, or reorder"),
        ("a: {from: b}\nb: {from: a}", "a.from: 'b' is not listed above it"),
        ("a: {from: base}\nb: {from: b}", "b.from: 'b' is not listed above it; name one of base, a"),
        ("c: {from: base}", "c.config: there is no"),
        ("base: {from: base}", "'base' cannot name a system"),
        ("../a: {from: base}", "'../a' cannot name a system"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(folder, capsys, content, said):
    (folder / "study.yaml").write_text(content)
    assert main(["study", "--config", str(folder), "--out", str(folder / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and "study.yaml" in error and said in error

"""``study.yaml``: its allowed content, and messages about mistakes."""

import pytest

from semalign_pl.__main__ import main
from semalign_pl.study.systems import System, read_systems


@pytest.fixture
def folder(tmp_path):
    """Configs ``a.yaml`` and ``b.yaml``; their content is not read here."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").touch()
    return tmp_path


def test_systems_stand_in_order_with_their_defaults(folder):
    (folder / "study.yaml").write_text("b: {from: base, label: Best}\na: {from: b}\nc: {from: b, config: ./a.yaml}\n")
    assert read_systems(folder) == [
        System("b", folder / "b.yaml", "base", "Best"),
        System("a", folder / "a.yaml", "b"),
        System("c", folder / "a.yaml", "b"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
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

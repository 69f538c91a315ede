"""Language identification: a model that tells apart what no rule of characters can."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from helpers.fasttext_model import probability, write_model

from semalign_pl.languages import Language, get_language
from semalign_pl.languages.identification import Identification
from semalign_pl.metrics import LanguageConsistency
from semalign_pl.rewards import LanguageReward
from semalign_pl.run.grounds import _identification_model
from semalign_pl.types import Example


def sentences(syllables: str, count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["་".join(draw.choices(syllables.split(), k=8)) + "།" for _ in range(count)]


TIBETAN, DZONGKHA = "བོད ཡིན རེད གིས ལ ནས དུ འདུག", "རྫོང ཨིན ཁ གིས ལུ ལས འདི སྦེ"
"""Syllables of two languages that share a script; some occur in both."""
TEXTS = {"bod_Tibt": sentences(TIBETAN, 60, 1), "dzo_Tibt": sentences(DZONGKHA, 60, 2)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.bin"
    write_model(path, TEXTS)
    return str(path)


def language(folder: Path, model: str, **more: object) -> Language:
    path = folder / "dz.yaml"
    entry = {"code": "dz-strict", "like": "dz", "identification": {"model": model, "label": "dzo_Tibt", **more}}
    path.write_text(json.dumps(entry), encoding="utf-8")
    return get_language(str(path))


def test_probabilities_are_those_of_the_definition(tmp_path: Path) -> None:
    vectors = write_model(tmp_path / "m.bin", TEXTS)
    for text in (*sentences(DZONGKHA, 2, 7), "བོད་ཡིན", "ལུ\nལ", "གིས", "གིས གིས"):
        wanted = probability(vectors, text, 1)
        for least in (0.001, wanted - 1e-4, wanted + 1e-4, 0.5):
            if 0 < least <= 1:
                identification = Identification(str(tmp_path / "m.bin"), "dzo_Tibt", least)
                assert identification.accepts(text) == (wanted >= least), (text, wanted, least)
    assert 0.01 < probability(vectors, "གིས", 1) < 0.99


def test_reward_and_metric_tell_dzongkha_from_tibetan(tmp_path: Path, model: str) -> None:
    own, other = sentences(DZONGKHA, 5, 3), sentences(TIBETAN, 5, 4)
    strict, plain = language(tmp_path, model), get_language("dz")
    assert [plain.is_consistent(text) for text in (*own, *other)] == [True] * 10
    assert [strict.is_consistent(text) for text in (*own, *other)] == [True] * 5 + [False] * 5
    assert not strict.is_consistent(own[0] + " Latin")
    metric = LanguageConsistency(strict)
    metric.update([*own, *other], [""] * 10)
    assert metric.compute() == 0.5
    path = str(tmp_path / "dz.yaml")
    examples = [Example(str(i), "", "") for i in range(10)]
    for reward in (LanguageReward(path), LanguageReward(path, source="en")):
        assert reward(examples, [*own, *other]).tolist() == [1.0] * 5 + [0.0] * 5


def test_the_signature_names_model_digest_label_and_probability(tmp_path: Path, model: str) -> None:
    import hashlib

    digest = hashlib.sha256(Path(model).read_bytes()).hexdigest()[:12]
    wanted = f"rule:2|identified:tiny.bin#{digest}|label:dzo_Tibt|min_p:0.7"
    strict = language(tmp_path, model, min_probability=0.7)
    assert wanted in LanguageConsistency(strict).signature
    assert wanted in LanguageReward(str(tmp_path / "dz.yaml")).signature
    assert LanguageReward("dz").signature.endswith("language:dz|rule:2")
    assert _identification_model(str(tmp_path / "dz.yaml")) == model


def test_a_warning_names_the_label_that_references_lack(tmp_path: Path, model: str) -> None:
    language(tmp_path, model)
    examples = [Example(str(i), "", text) for i, text in enumerate(sentences(TIBETAN, 5, 4))]
    warning = LanguageReward(str(tmp_path / "dz.yaml")).check_references(examples)
    assert warning is not None and "100% of 5" in warning and "not identified as dzo_Tibt" in warning


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"model": "MODEL", "label": "dzo_Tib"}, "label: .*tiny.bin has no 'dzo_Tib'; did you mean dzo_Tibt?"),
        ({"model": "none.bin", "label": "x"}, "model: there is no file none.bin; give one, or a hub id such as"),
        (
            {"model": "nobody/none", "label": "x"},
            "neither a file nor can be read from the hub .*run once with a network",
        ),
        ({"model": __file__, "label": "x"}, "is no supervised fastText model"),
        ({"model": "MODEL"}, r"dz.yaml: identification: .* is not a mapping of model, label, min_probability"),
        ({"model": "MODEL", "label": "x", "min_probability": 0}, r"dz.yaml: identification: min_probability: 0 is not"),
        ({"model": 3, "label": "x"}, r"dz.yaml: identification: model: 3 is no text"),
    ],
)
def test_mistakes_in_one_line(tmp_path: Path, model: str, entry: dict[str, object], wanted: str) -> None:
    whole = {
        "code": "x",
        "like": "dz",
        "identification": entry | ({"model": model} if entry["model"] == "MODEL" else {}),
    }
    (tmp_path / "dz.yaml").write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(ValueError, match=wanted) as caught:
        get_language(str(tmp_path / "dz.yaml")).is_consistent("བོད")
    assert "\n" not in str(caught.value)


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(
        ValueError, match=r"fasttext-predict is not installed; run `pip install 'semalign-pl\[glotlid\]'"
    ):
        Identification(str(tmp_path / "unseen.bin"), "x").accepts("བོད")


def test_real_dzongkha_and_tibetan(tmp_path: Path, shared: Path) -> None:
    """A small model trained on both: nearly all texts that it has not seen are told apart."""
    folder = shared / "en_dz_ui"
    dzongkha = {
        name: [json.loads(line)["dz"] for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
        for name in ("train", "dev")
    }
    lines = (shared / "nanhai_headlines_bo" / "headlines.jsonl").open(encoding="utf-8")
    tibetan = [json.loads(line)["title"] for line in lines]
    write_model(tmp_path / "real.bin", {"bod_Tibt": tibetan[:400], "dzo_Tibt": dzongkha["train"][:2000]})
    strict, plain = language(tmp_path, str(tmp_path / "real.bin")), get_language("dz")
    for texts, wanted in ((dzongkha["dev"][:200], True), (tibetan[400:600], False)):
        passing = [text for text in texts if plain.is_consistent(text)]
        assert len(passing) > 0.8 * len(texts)
        right = [strict.is_consistent(text) is wanted for text in passing]
        assert sum(right) > 0.9 * len(right)

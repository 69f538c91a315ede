"""Semantic similarity as a metric."""

import pathlib

import pytest
import torch

from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.metrics import SemanticSimilarity

PREDICTIONS, REFERENCES = ["བོད་ཡིག", "", "བོད"], ["བོད་ཡིག", "བོད", "中文"]


def test_mean_cosine(encoder_folder: pathlib.Path) -> None:
    metric = SemanticSimilarity(encoder_folder)
    metric.update(PREDICTIONS, REFERENCES)
    third = SentenceEncoder(encoder_folder).similarity(["བོད"], ["中文"]).item()
    assert metric.per_row(PREDICTIONS, REFERENCES) == pytest.approx([1.0, 0.0, third], abs=1e-6)
    assert metric.compute().item() == pytest.approx((1.0 + third) / 3, abs=1e-6)
    assert metric.score(50).signature == f"similarity:cosine|{metric.encoder.signature}|bs:50|seed:12345"


def test_texts_are_encoded_once_for_both_uses(encoder_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = SemanticSimilarity(encoder_folder)
    calls = []
    encode = metric.encoder.encode
    monkeypatch.setattr(metric.encoder, "encode", lambda texts: (calls.append(texts), encode(texts))[1])
    metric.update(PREDICTIONS, REFERENCES)
    metric.per_row(PREDICTIONS, REFERENCES)
    assert calls == [PREDICTIONS, REFERENCES]


def test_references_are_encoded_once_in_a_process(
    encoder_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric, calls = SemanticSimilarity(encoder_folder), []
    encode = metric.encoder._model.encode
    monkeypatch.setattr(
        metric.encoder._model,
        "encode",
        lambda texts, **options: (calls.append(list(texts)), encode(texts, **options))[1],
    )
    long = "a" * 23  # a byte longer than the encoder reads
    first = [metric.per_row([long], [long]), metric.texts_cut]
    metric.update(["x", "y", "z"], [long, "", long])
    assert calls == [[long], [long], ["x", "y", "z"]] and metric.texts_cut == 4
    metric.reset()  # another system
    assert [metric.per_row([long], [long]), metric.texts_cut] == first == [[pytest.approx(1.0)], 2]
    monkeypatch.setattr("semalign_pl.metrics.similarity.MAX_REFERENCES", 2)
    calls.clear()
    for _ in range(2):
        metric.per_row(["x"], ["one too many"])
        metric.per_row(["x"], [long])
    assert [texts for texts in calls if texts != ["x"]] == [["one too many"]] * 2


def test_the_encoder_is_no_part_of_the_module(encoder_folder: pathlib.Path) -> None:
    metric = SemanticSimilarity(encoder_folder)
    holder = torch.nn.Module()
    holder.metric = metric
    metric.update(PREDICTIONS, REFERENCES)
    assert list(holder.parameters()) == list(holder.buffers()) == []
    assert holder.state_dict() == {}


def test_loaded_when_needed(tmp_path: pathlib.Path) -> None:
    metric = SemanticSimilarity(tmp_path / "missing")
    with pytest.raises(ValueError, match="is not a SentenceTransformer"):
        metric.update(["a"], ["b"])


def test_only_an_encoder_of_its_own_is_moved(encoder_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SentenceEncoder(encoder_folder)
    moved = []
    monkeypatch.setattr(SentenceEncoder, "to", lambda self, device: (moved.append(self), self)[1])
    metric = SemanticSimilarity(shared)
    metric.update(["a"], ["b"])
    assert metric.encoder is shared and moved == []
    own = SemanticSimilarity(encoder_folder)
    own.update(["a"], ["b"])
    assert moved == [own.encoder]

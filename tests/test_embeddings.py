"""A corpus embedded once: the same bits from memory, from disk and after a resume; content decides."""

from pathlib import Path

import pytest
import torch

from semalign_pl.embeddings import CorpusEmbeddings
from semalign_pl.encoder import SentenceEncoder

TEXTS = ["བོད་ཡིག", "中文", "a longer text in English", " ", "x", "中文"]


@pytest.fixture
def sentence_encoder(encoder: str) -> SentenceEncoder:
    return SentenceEncoder(encoder, batch_size=2)


def test_same_as_the_encoder_in_the_order_asked(sentence_encoder: SentenceEncoder, tmp_path: Path) -> None:
    found = CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)(TEXTS[::-1])
    torch.testing.assert_close(found, sentence_encoder.encode(TEXTS[::-1]), atol=1e-6, rtol=0)
    assert found[2].abs().sum() == 0 and found.dtype == torch.float32


def test_read_from_disk_without_encoding(sentence_encoder: SentenceEncoder, tmp_path: Path, monkeypatch) -> None:
    first = CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path / "cache")
    in_memory = CorpusEmbeddings(sentence_encoder, TEXTS, None)
    encode, encoded = sentence_encoder.encode, []
    monkeypatch.setattr(sentence_encoder, "encode", lambda texts: (encoded.extend(texts), encode(texts))[1])
    second = CorpusEmbeddings(sentence_encoder, [*reversed(TEXTS), "x"], tmp_path / "cache")
    assert encoded == []
    assert torch.equal(first(TEXTS), second(TEXTS)) and torch.equal(first(TEXTS), in_memory(TEXTS))
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


def test_other_texts_or_weights_are_another_file(
    sentence_encoder: SentenceEncoder, encoder: str, tmp_path: Path
) -> None:
    CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)
    CorpusEmbeddings(sentence_encoder, [*TEXTS, "new"], tmp_path)
    changed = SentenceEncoder(encoder)
    with torch.no_grad():
        next(changed._model.parameters()).add_(1.0)
    vectors = CorpusEmbeddings(changed, TEXTS, tmp_path)(TEXTS)
    assert len(list(tmp_path.iterdir())) == 3
    assert not torch.allclose(vectors, sentence_encoder.encode(TEXTS))


def test_in_chunks(sentence_encoder: SentenceEncoder, monkeypatch) -> None:
    monkeypatch.setattr("semalign_pl.embeddings.CHUNK", 2)
    found = CorpusEmbeddings(sentence_encoder, TEXTS, None)(TEXTS)
    torch.testing.assert_close(found, sentence_encoder.encode(TEXTS), atol=1e-6, rtol=0)
    assert CorpusEmbeddings(sentence_encoder, [], None)([]).shape == (0, 32)


def test_membership(sentence_encoder: SentenceEncoder) -> None:
    known = CorpusEmbeddings(sentence_encoder, TEXTS, None)
    assert "x" in known and "y" not in known

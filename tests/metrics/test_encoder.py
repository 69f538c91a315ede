"""Frozen encoder: order, equal and empty texts, truncation, gradients, clear refusals."""

import json
import pathlib
import shutil

import pytest
import torch
from sentence_transformers import SentenceTransformer

from semalign_pl.encoder.sentence_encoder import SentenceEncoder

TEXTS = ["བོད་ཡིག", "中文", "an English text", "བོད", "x"]


@pytest.fixture
def encoder(encoder_folder: pathlib.Path) -> SentenceEncoder:
    return SentenceEncoder(encoder_folder, batch_size=2)


@pytest.fixture
def seen(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Texts that reach the model, per call."""
    calls: list[list[str]] = []
    encode = encoder._model.encode
    monkeypatch.setattr(encoder._model, "encode", lambda texts, **kw: (calls.append(texts), encode(texts, **kw))[1])
    return calls


def test_same_as_the_library_in_the_order_given(encoder: SentenceEncoder, encoder_folder: pathlib.Path) -> None:
    oracle = SentenceTransformer(str(encoder_folder), device="cpu")
    expected = torch.cat([oracle.encode([t], convert_to_tensor=True, normalize_embeddings=True) for t in TEXTS])
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == torch.float32 and vectors.shape == (5, 16) == (5, encoder.dimensions)
    torch.testing.assert_close(vectors, expected.clone(), atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
    cosines = expected @ expected.T
    assert cosines.fill_diagonal_(0).max() < 0.999  # otherwise a wrong order would not show


def test_equal_texts_are_encoded_once(encoder: SentenceEncoder, seen: list[list[str]]) -> None:
    vectors = encoder.encode(["b", "a", "b", "b"])
    assert seen == [["b", "a"]]
    assert torch.equal(vectors[0], vectors[2]) and torch.equal(vectors[0], vectors[3])
    assert not torch.equal(vectors[0], vectors[1])
    encoder.similarity(["a", "b"], ["b", "b"])
    assert sorted(seen[1]) == ["a", "b"]


def test_empty_text_is_the_zero_vector(encoder: SentenceEncoder, seen: list[list[str]]) -> None:
    vectors = encoder.encode(["", "a", " \n"])
    assert seen == [["a"]]
    assert vectors[[0, 2]].abs().sum() == 0 and vectors[1].norm() == pytest.approx(1.0)
    assert encoder.encode([""]).tolist() == [[0.0] * 16]
    assert encoder.encode([]).shape == (0, 16)
    assert seen == [["a"]]


def test_similarity(encoder: SentenceEncoder) -> None:
    values = encoder.similarity(["a", "a", "", ""], ["a", "བོད", "a", ""])
    assert values.shape == (4,) and values.dtype == torch.float32
    vectors = encoder.encode(["a", "བོད"]).double()
    assert values[0] == pytest.approx(1.0, abs=1e-6) and values[0] <= 1.0
    assert values[1].item() == pytest.approx((vectors[0] @ vectors[1]).item(), abs=1e-6)
    assert values[2:].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="1 texts to compare with 2"):
        encoder.similarity(["a", "b"], ["a"])


def test_similarity_is_a_cosine_and_stays_in_range(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0001, 0.0], [-1.0, 0.0], [1.0001, 0.0]])
    monkeypatch.setattr(encoder, "encode", lambda texts: vectors)
    assert encoder.similarity(["a", "b"], ["c", "d"]).tolist() == [-1.0, 1.0]


def test_truncated_texts_are_counted(encoder: SentenceEncoder) -> None:
    encoder.encode(["a" * 22, "བ" * 7])  # 22 and 21 bytes and two special tokens: all are read
    assert encoder.truncated == 0
    encoder.encode(["a" * 23, "བ" * 8, "a" * 23, "short"])
    assert encoder.truncated == 3
    encoder.similarity(["a" * 23], ["short"])
    assert encoder.truncated == 4
    assert torch.equal(encoder.encode(["a" * 23]), encoder.encode(["a" * 40]))


def test_frozen_and_without_gradient(encoder: SentenceEncoder) -> None:
    assert not any(weight.requires_grad for weight in encoder._model.parameters())
    assert not encoder._model.training
    encoder._model.train()
    first, second = encoder.encode(TEXTS), encoder.encode(TEXTS)
    assert torch.equal(first, second)  # no dropout
    assert not first.requires_grad


def test_rewards_can_weigh_a_loss(encoder: SentenceEncoder) -> None:
    """An inference tensor, as the library returns it, would raise here, since autograd cannot save it."""
    policy = torch.ones(2, requires_grad=True)
    (policy * encoder.similarity(["a", "b"], ["b", "a"])).sum().backward()
    assert policy.grad is not None
    (policy * encoder.encode(["a", "b"])[:, 0]).sum().backward()


def test_signature_follows_the_weights(encoder: SentenceEncoder, encoder_folder: pathlib.Path) -> None:
    start, _, rest = encoder.signature.partition("@")
    assert start == "encoder:st"
    digest, _, rest = rest.partition("|")
    assert len(digest) == 8
    assert rest.startswith("pooling:mean|dimensions:16|max_tokens:24|sentence-transformers:")
    assert SentenceEncoder(encoder_folder).signature == encoder.signature
    other = SentenceEncoder(encoder_folder)
    next(other._model.parameters()).data[0, 0] += 1
    assert other.signature != encoder.signature


def test_the_device_is_never_guessed(encoder: SentenceEncoder) -> None:
    assert encoder.encode(["a"]).device.type == "cpu"
    assert encoder.to("cpu") is encoder
    encoder.to("meta")
    assert encoder._model.device.type == "meta"


def test_not_a_sentence_transformer(encoder_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(encoder_folder, bare)
    assert json.loads((bare / "modules.json").read_text())
    (bare / "modules.json").unlink()
    with pytest.raises(ValueError, match=r"bare' is not .* a folder without modules.json; name a folder written by"):
        SentenceEncoder(bare)
    with pytest.raises(ValueError, match=r"missing' is not .* neither a folder nor found on the hub"):
        SentenceEncoder(tmp_path / "missing")


def test_one_digest_in_every_dtype(encoder: SentenceEncoder, encoder_folder: pathlib.Path) -> None:
    half = SentenceEncoder(encoder_folder, half=True)
    assert half.digest == encoder.digest and len(half.digest) == 8
    assert f"@{encoder.digest}|" in half.signature and "|dtype:bfloat16" in half.signature

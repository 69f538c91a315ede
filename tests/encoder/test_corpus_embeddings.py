"""Embeddings of a corpus, computed on demand: the same bits from memory, from disk and after resuming."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pairs import PAIRS
from tokenizers import normalizers

from semalign_pl.encoder.corpus_embeddings import CorpusEmbeddings
from semalign_pl.encoder.sentence_encoder import SentenceEncoder

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
    CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)(TEXTS)
    CorpusEmbeddings(sentence_encoder, [*TEXTS, "new"], tmp_path)(TEXTS)
    changed = SentenceEncoder(encoder)
    with torch.no_grad():
        next(changed._model.parameters()).add_(1.0)
    vectors = CorpusEmbeddings(changed, TEXTS, tmp_path)(TEXTS)
    assert len(list(tmp_path.iterdir())) == 3
    assert not torch.allclose(vectors, sentence_encoder.encode(TEXTS))


def mend_tokenizer(encoder: SentenceEncoder) -> None:
    encoder._model.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("བ", "པ")


def set_prompt(encoder: SentenceEncoder) -> None:
    encoder._model.prompts, encoder._model.default_prompt_name = {"query": "query: "}, "query"


def change_pooling(encoder: SentenceEncoder) -> None:
    encoder._model[1].include_prompt = False


def test_other_settings_of_the_same_weights_are_another_file(encoder: str, tmp_path: Path) -> None:
    """Such as a tokenizer.json that was mended in the same folder; an encoder that was used is no other."""
    for change in (lambda encoder: encoder.encode(TEXTS), mend_tokenizer, set_prompt, change_pooling):
        changed = SentenceEncoder(encoder)
        signature = changed.signature
        change(changed)
        assert changed.signature == signature  # results of earlier versions are compared by it
        found = CorpusEmbeddings(changed, TEXTS, tmp_path)(TEXTS)
        torch.testing.assert_close(found, changed.encode(TEXTS), atol=1e-6, rtol=0)
    CorpusEmbeddings(SentenceEncoder(encoder), TEXTS, tmp_path)(TEXTS)
    assert len(list(tmp_path.iterdir())) == 4


def test_no_texts(sentence_encoder: SentenceEncoder) -> None:
    assert CorpusEmbeddings(sentence_encoder, [], None)([]).shape == (0, 32)
    assert CorpusEmbeddings(sentence_encoder, [" "], None)([" "]).tolist() == [[0.0] * 32]


def test_membership(sentence_encoder: SentenceEncoder) -> None:
    known = CorpusEmbeddings(sentence_encoder, TEXTS, None)
    assert "x" in known and "y" not in known


CORPUS = [pair[side] * (1 + i % 3) for i, pair in enumerate(PAIRS) for side in pair] + [f"word {i}" for i in range(200)]


def test_small_encoders_give_the_bits_of_the_whole_corpus_at_once(encoder: str) -> None:
    """Values that earlier runs recorded, when a corpus was embedded in one call."""
    whole = SentenceEncoder(encoder)
    texts = sorted(set(CORPUS))
    assert torch.equal(CorpusEmbeddings(whole, CORPUS, None)(texts), whole.encode(texts))


@pytest.mark.parametrize("small", [0, 8_000_000], ids=["large encoder", "small encoder"])
def test_bits_depend_neither_on_order_nor_on_company(encoder: str, tmp_path: Path, monkeypatch, small: int) -> None:
    monkeypatch.setattr("semalign_pl.encoder.corpus_embeddings.SMALL_ENCODER", small)
    monkeypatch.setattr("semalign_pl.encoder.corpus_embeddings.MEMORY_BYTES", small)  # 0: nothing is kept in memory
    whole, texts = SentenceEncoder(encoder), sorted(set(CORPUS))
    at_once = CorpusEmbeddings(whole, CORPUS, None)(texts)
    alone = CorpusEmbeddings(whole, CORPUS[::-1], tmp_path)
    assert torch.equal(torch.cat([alone([text]) for text in reversed(texts)]).flip(0), at_once)
    resumed = CorpusEmbeddings(whole, CORPUS, tmp_path)  # half of it from disk, half computed again
    for path in sorted(tmp_path.iterdir())[::2]:
        path.unlink()
    assert torch.equal(resumed(texts), at_once)


def rows_on_disk(folder: Path) -> int:
    return sum(len(np.load(path)) for path in folder.glob("*.npy"))


@pytest.mark.parametrize(("small", "block"), [(0, 8), (8_000_000, 64)])
def test_no_more_is_encoded_than_the_blocks_of_what_is_needed(
    encoder: str, tmp_path: Path, monkeypatch, small: int, block: int
) -> None:
    monkeypatch.setattr("semalign_pl.encoder.corpus_embeddings.SMALL_ENCODER", small)
    known = CorpusEmbeddings(SentenceEncoder(encoder), CORPUS, tmp_path)
    assert rows_on_disk(tmp_path) == 0
    known([CORPUS[0]])
    assert rows_on_disk(tmp_path) == block
    known([CORPUS[0]] * 4)
    assert rows_on_disk(tmp_path) == block
    known(CORPUS)
    assert rows_on_disk(tmp_path) == len(set(CORPUS))


DAMAGE = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "zeroed page": lambda content: content[:200] + bytes(64) + content[264:],
    "one bit": lambda content: content[:-40] + bytes([content[-40] ^ 1]) + content[-39:],
    "longer": lambda content: content + b"x",
    "without checksum": lambda content: content[:-16],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_entries_are_not_believed(
    sentence_encoder: SentenceEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    right = CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)(TEXTS)
    (path,) = tmp_path.iterdir()
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert torch.equal(CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)(TEXTS), right)
    assert [r.message for r in caplog.records] == [
        f"{path}: the cached embeddings are damaged (checksum or length is wrong); they are computed again"
    ]
    caplog.clear()
    assert torch.equal(CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)(TEXTS), right)
    assert not caplog.records  # the file was repaired


def test_another_block_s_file_is_not_believed(encoder: str, tmp_path: Path, monkeypatch, caplog) -> None:
    """It has the right length and a valid checksum."""
    monkeypatch.setattr("semalign_pl.encoder.corpus_embeddings.SMALL_ENCODER", 0)
    texts, whole = sorted(set(CORPUS)), SentenceEncoder(encoder)
    right = CorpusEmbeddings(whole, texts, tmp_path)(texts)
    one, other = [path for path in sorted(tmp_path.iterdir()) if len(np.load(path)) == 8][:2]
    one.write_bytes(other.read_bytes())
    assert torch.equal(CorpusEmbeddings(whole, texts, tmp_path)(texts), right)
    assert [record.message.split(":")[0] for record in caplog.records] == [str(one)]


def embed(encoder: str, folder: str) -> None:
    texts = sorted(set(CORPUS))
    CorpusEmbeddings(SentenceEncoder(encoder), texts, Path(folder))(texts)


def test_processes_share_a_folder(encoder: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=embed, args=(encoder, str(tmp_path))) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert rows_on_disk(tmp_path) == len(set(CORPUS))
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".npy"]  # no unfinished file is left


def test_a_folder_that_cannot_be_written_to_costs_no_run(
    sentence_encoder: SentenceEncoder, tmp_path: Path, caplog
) -> None:
    """Read-only or full disks behave like a file in the folder's place, which stops all users, including root."""
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):  # the source files of a corpus share one folder
        found = CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path / "file" / "cache")(TEXTS)
        assert torch.equal(found, CorpusEmbeddings(sentence_encoder, TEXTS, None)(TEXTS))
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{tmp_path / 'file' / 'cache'}: embeddings cannot be kept there (")
    assert "`cache`" in message and "\n" not in message


def test_a_file_that_cannot_be_read_is_computed_again(
    sentence_encoder: SentenceEncoder, tmp_path: Path, caplog
) -> None:
    expected = CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)(TEXTS)
    (block,) = tmp_path.iterdir()
    block.unlink()
    block.mkdir()  # neither read nor replaced
    assert torch.equal(CorpusEmbeddings(sentence_encoder, TEXTS, tmp_path)(TEXTS), expected)
    assert "cannot be read" in caplog.text and "cannot be kept" in caplog.text
    assert list(tmp_path.iterdir()) == [block]

"""A reward's model is tried on the data before training; if it cannot read them, a message says so with figures."""

import json
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pairs import PAIRS, PLACES, VERBS, WORDS
from helpers.tiny import Batches
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from semalign_pl.cli import run
from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.functional.proportion import wilson_interval
from semalign_pl.rewards import CrossEncoderReward, SemanticReward
from semalign_pl.rewards.encoder_trial import MIN_PAIRS, EncoderTrial, draw_sample, try_encoder
from semalign_pl.types import Example

SYLLABLES = sorted(
    {s for part in (WORDS, PLACES, VERBS) for text in part.values() for s in text.strip("།").split("་") if s}
)


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def tibetan(seed: int, syllables: int = 6) -> str:
    draws = random.Random(seed)
    return "་".join(draws.choice(SYLLABLES) for _ in range(syllables)) + "།"


def chinese(seed: int) -> str:
    return "".join(random.Random(seed).choices([c for pair in PAIRS for c in pair["zh"]], k=8))


def examples(count: int) -> list[Example]:
    return [Example(str(i), f"译：{chinese(i)}", tibetan(i), {"zh": chinese(i)}, chinese(i)) for i in range(count)]


@pytest.fixture(scope="module")
def english_encoder(tmp_path_factory) -> str:
    """Stand-in for a BERT whose WordPiece vocabulary has no Tibetan (such as CINO's or MiniLM's)."""
    torch.manual_seed(0)
    inner, folder = tmp_path_factory.mktemp("wordpiece"), tmp_path_factory.mktemp("english")
    letters = [chr(c) for c in range(33, 127)] + sorted({c for pair in PAIRS for c in pair["zh"]})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "་", *letters, *(f"##{c}" for c in letters)]
    (inner / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(inner / "vocab.txt")).save_pretrained(inner)
    BertModel(BertConfig(vocab_size=len(vocabulary), **SMALL)).save_pretrained(inner)
    SentenceTransformer(modules=[Transformer(str(inner)), Pooling(32)], device="cpu").save(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def world(miniature: Path) -> tuple[str, list[Example]]:
    """Encoder of the miniature world, which was trained on the pair, and pairs of that world."""
    lines = (miniature / "pairs" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    rows = [json.loads(line) for line in lines]
    return str(miniature / "encoder"), [Example(r["zh"], r["zh"], r["bo"], {"zh": r["zh"]}, r["zh"]) for r in rows]


class Corpus(Batches):
    """Data module with training examples, like CorpusDataModule."""

    def __init__(self, train: list[Example]) -> None:
        super().__init__([train[:2]])
        self.examples = {"train": train}


def told(caplog) -> list[str]:
    """Warnings of this package."""
    return [r.message for r in caplog.records if r.name.startswith("semalign_pl") and r.levelname == "WARNING"]


def start(reward, train: list[Example]) -> dict:
    """Start training with a reward, by calling its hooks as a trainer does; return the figures."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.demos.boring_classes import BoringModel

    class Still(BoringModel):
        def training_step(self, batch, batch_idx):
            return None

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_steps=1, max_epochs=1, callbacks=[reward], **quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Still(), datamodule=Corpus(train))
    return reward.trial


def test_an_encoder_that_cannot_read_the_script_is_refused(english_encoder) -> None:
    """It gives random syllables 0.9 and more; the message contains the figures, the encoder and the remedy."""
    train = examples(200)
    reward = SemanticReward(english_encoder, cache=None)
    assert reward(train[:50], [tibetan(1000 + i) for i in range(50)]).mean() > 0.9
    with pytest.raises(ValueError) as refused:
        start(reward, train)
    message = str(refused.value)
    assert message.startswith(f"SemanticReward.encoder: {english_encoder} cannot tell the texts of this corpus apart")
    assert "\n" not in message and "of 128 texts of column 'reference', 100% have tokens it does not know" in message
    assert "train one on your pairs (embedder.yaml of semalign init" in message and "chance 0.8%" in message
    # The figures, computed with sentence-transformers and by hand.
    sample = draw_sample(train)
    vectors = SentenceTransformer(english_encoder, device="cpu").encode(
        [e.reference for e in sample], normalize_embeddings=True
    )
    cosines = (vectors @ vectors.T)[~np.eye(len(sample), dtype=bool)]
    assert reward.trial["unrelated_mean"] == pytest.approx(cosines.mean(), abs=1e-4) and cosines.mean() > 0.9
    assert reward.trial["unrelated_p95"] == pytest.approx(np.quantile(cosines, 0.95), abs=1e-4)
    assert reward.trial["unknown_texts"] == 1.0 and 0.4 < reward.trial["unknown_tokens"] < 1


@pytest.mark.parametrize("anchor", ["reference", "zh"])
def test_an_encoder_of_the_pair_passes_without_a_word(world, caplog, anchor: str) -> None:
    encoder, train = world
    trial = start(SemanticReward(encoder, cache=None, anchor=anchor), train)
    assert not told(caplog)
    assert trial["pairs"] == 128 and trial["unknown_texts"] is None  # its tokenizer falls back to bytes
    assert trial["accuracy_at_1"] > 0.95 and trial["chance"] == 1 / 128
    assert trial["unrelated_mean"] < (0.1 if anchor == "reference" else 0.8)


LEGITIMATE = {
    "five rows": examples(5),
    "few distinct references": [Example(str(i), "?", tibetan(i % 3), {}, chinese(i)) for i in range(200)],
    "source only": [Example(str(i), chinese(i), "", {"zh": chinese(i)}, chinese(i)) for i in range(200)],
    "one row": examples(1),
    "blank references": [Example(str(i), "?", " ", {"zh": "山"}, "山") for i in range(9)],
}


@pytest.mark.parametrize("corpus", LEGITIMATE)
def test_corpora_on_which_little_can_be_tried_are_not_refused(english_encoder, corpus: str) -> None:
    """With the worst possible encoder."""
    train = LEGITIMATE[corpus]
    start(SemanticReward(english_encoder, cache=None, anchor="reference" if train[0].reference else "zh"), train)


def test_a_monolingual_encoder_passes_as_completions_are_compared_with_references(world, caplog) -> None:
    """Sources that are unrelated to the references, as in an instruction task."""
    encoder, pairs = world
    train = [Example(e.id, e.prompt, e.reference, {}, f"{i}?") for i, e in enumerate(pairs)]
    trial = start(SemanticReward(encoder, cache=None), train)
    assert trial["accuracy_low"] <= trial["chance"] and not told(caplog)


def test_an_encoder_that_aligns_nothing_is_warned_about_where_sources_are_compared(world, caplog) -> None:
    encoder, pairs = world
    shifted = [p.source for p in pairs[1:] + pairs[:1]]
    train = [Example(p.id, p.prompt, p.reference, {"zh": zh}, zh) for p, zh in zip(pairs, shifted, strict=True)]
    start(SemanticReward(encoder, cache=None, anchor="zh"), train)
    (warning,) = told(caplog)
    assert "may not understand this corpus" in warning and encoder in warning


NAN = float("nan")


@pytest.mark.parametrize(
    ("unknown", "cosine", "pairs", "hits", "across", "verdict"),
    [
        (1.0, 0.9, 128, 1, False, "refuse"),  # cannot read
        (0.0, 0.9, 128, 1, False, "refuse"),  # reads, but all texts are similar to it
        (None, 0.9, 128, 1, False, "refuse"),
        (1.0, 0.9, 128, 9, False, "refuse"),  # digits and names identify some pairs
        (1.0, 0.9, 128, 100, False, "warn"),  # finds the pairs all the same
        (0.0, 0.9, 128, 100, False, "warn"),
        (1.0, 0.3, 128, 1, False, "warn"),
        (1.0, 0.3, 128, 120, False, "trust"),  # only punctuation is unknown, for example
        (0.0, 0.9, MIN_PAIRS - 1, 0, False, "warn"),  # too few pairs for a decision
        (0.0, 0.79, 128, 1, False, "trust"),
        (0.0, 0.1, 128, 1, False, "trust"),
        (0.0, 0.1, 128, 1, True, "warn"),
        (0.5, 0.1, 128, 128, True, "trust"),
        (None, NAN, 0, 0, True, "trust"),
    ],
)
def test_verdicts(unknown, cosine, pairs, hits, across, verdict) -> None:
    low, high = wilson_interval(hits, pairs) if pairs else (NAN, NAN)
    trial = EncoderTrial(
        "bo", 128, unknown, unknown, cosine, cosine, pairs, hits / max(1, pairs), low, high, 1 / max(1, pairs)
    )
    assert trial.verdict(across) == verdict


def test_figures_on_a_table_by_hand() -> None:
    angle = {"a": 0.0, "b": 0.5, "c": 1.5, "x": 0.1, "y": 0.2, "z": 1.4}  # y is nearer to a than to b

    def embed(texts):
        towards = torch.tensor([angle[text] for text in texts])
        return torch.stack([towards.cos(), towards.sin()], 1)

    counts = {"x": (1, 4), "y": (0, 4), "z": (2, 2)}
    trial = try_encoder(
        embed, lambda texts: [counts[t] for t in texts], {"reference": ["x", "y", "z", "x"]}, "abca", "xyzx"
    )
    assert trial is not None
    cosines = [np.cos(0.1), np.cos(1.3), np.cos(1.2)]
    assert (trial.texts, trial.unknown_texts, trial.unknown_tokens) == (3, 2 / 3, 0.3)
    assert trial.unrelated_mean == pytest.approx(np.mean(cosines))
    assert (trial.pairs, trial.accuracy_at_1, trial.chance) == (3, 1.0, 1 / 3)
    assert trial.figures()["column"] == "reference"


def test_bytes_are_not_unknown(encoder) -> None:
    """A byte fallback of the tokenizer loses nothing: an encoder can learn to read bytes."""
    assert SentenceEncoder(encoder).count_unknown_tokens(["老师", "\U0001f600"]) is None


@pytest.mark.parametrize("texts", [["", "a"], []])
def test_counting_nothing(english_encoder, texts) -> None:
    assert SentenceEncoder(english_encoder).count_unknown_tokens(texts) == [(0, len(text)) for text in texts]


def test_the_figures_are_beside_the_adapter_and_in_the_results(runs) -> None:
    runs("fit", "grpo", "run", "--trainer.max_steps=1")
    trials = json.loads((runs.folder / "run" / "adapter" / "training.json").read_text())["reward_trials"]
    assert trials["semantic"]["texts"] == 40 and trials["semantic"]["pairs"] == 40


def test_a_refusal_is_one_line_of_the_command(runs, english_encoder, capsys) -> None:
    rows = [json.dumps({"zh": chinese(i), "bo": tibetan(i)}, ensure_ascii=False) for i in range(200)]
    (runs.folder / "many.jsonl").write_text("\n".join(dict.fromkeys(rows)), encoding="utf-8")
    recipe = runs.recipe("grpo")
    recipe["trainer"]["callbacks"][0]["init_args"] = {"encoder": english_encoder, "cache": None}
    recipe["data"]["init_args"]["train"] = str(runs.folder / "many.jsonl")
    assert run(["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder / 'x'}"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"semalign: error: SemanticReward.encoder: {english_encoder} cannot tell the texts")


def test_pair_models_are_tried_on_shuffled_pairs(tokenizer, tmp_path: Path, caplog) -> None:
    """A cross-encoder of random weights cannot tell them apart; its AUC is computed from its own scores."""
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, **SMALL)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = CrossEncoderReward(str(tmp_path), anchor="zh")
    train = examples(60)
    trial = start(reward, train)
    sample = draw_sample(train, 32)
    own = reward(sample, [e.reference for e in sample])
    wrong = reward(sample, [e.reference for e in sample[1:] + sample[:1]])
    above = (own.unsqueeze(1) > wrong).float() + 0.5 * (own.unsqueeze(1) == wrong).float()
    assert trial["auc"] == pytest.approx(above.mean().item()) and trial["pairs"] == 32 and reward.truncated == 0
    assert trial["auc_low"] <= 0.5 <= trial["auc_high"]
    assert "CrossEncoderReward does not tell references from wrong ones on this corpus" in told(caplog)[0]


def test_two_steps_embed_what_two_steps_need(runs, world, tmp_path: Path) -> None:
    """Of 9,411 distinct references: those of 4 prompts with the rest of their blocks, and the sample of the trial."""
    encoder, pairs = world
    singles = [(a.source + b.source, a.reference + b.reference) for a in pairs[:100] for b in pairs[:100] if a != b]
    rows = [json.dumps({"zh": zh, "bo": bo}, ensure_ascii=False) for zh, bo in singles]
    assert len(set(rows)) >= 9411
    (tmp_path / "many.jsonl").write_text("\n".join(rows[:9411]), encoding="utf-8")
    recipe = runs.recipe("grpo")
    recipe["trainer"]["callbacks"][0]["init_args"] |= {"cache": str(tmp_path / "cache"), "encoder": encoder}
    recipe["data"]["init_args"]["train"] = str(tmp_path / "many.jsonl")
    args = ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={tmp_path / 'x'}"]
    assert run([*args, "--trainer.max_steps=2"]) == 0
    encoded = sum(len(np.load(path)) for path in (tmp_path / "cache").glob("*.npy"))
    assert 0 < encoded <= 2 * 2 * 64 + 2 * 128

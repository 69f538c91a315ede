"""Small real fixtures made locally: a trained tokenizer, a random Qwen3, a random SentenceTransformer, a corpus."""

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pairs import CHAT, PAIRS

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# For this process and those that tests start: threads only slow down models this small, and wait without spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that both of xdist's processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Exempt the modules, imported by now, from garbage collection, which would search them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # of Python 3.11: 700, 10, 10; a parser of recipes alone makes many objects


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Give every test the same random state, whichever test ran before."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real corpora next to the checkout; tests that need it are skipped if it does not exist."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared corpora are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([text for pair in PAIRS for text in pair.values()], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT
    return fast


@pytest.fixture(scope="session")
def base(tokenizer, tmp_path_factory) -> str:
    """Folder of a random Qwen3 of 60 k parameters."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        intermediate_size=128,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def encoder(tokenizer, tmp_path_factory) -> str:
    """Folder of a random SentenceTransformer."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    inner = tmp_path_factory.mktemp("bert")
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=256,
            type_vocab_size=1,
        )
    ).save_pretrained(inner)
    tokenizer.save_pretrained(inner)
    body = Transformer(str(inner))
    body.max_seq_length = 256
    folder = tmp_path_factory.mktemp("encoder")
    SentenceTransformer(modules=[body, Pooling(32)]).save(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Folder with train.jsonl (40 pairs), dev.jsonl (8), text.txt and reading.json."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, rows in (("train", PAIRS[:40]), ("dev", PAIRS[40:])):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "text.txt").write_text("\n".join(pair["zh"] for pair in PAIRS[:6]) + "\n", encoding="utf-8")
    qas = [{"id": "q0", "question": "谁看书？", "answers": [{"text": "老师", "answer_start": 0}]}]
    paragraphs = [{"id": "p0", "context": "老师在学校看书。学生在家里吃饭。", "qas": qas}]
    reading = {"version": "v1.0", "data": [{"paragraphs": paragraphs}]}
    (folder / "reading.json").write_text(json.dumps(reading, ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def miniature(tmp_path_factory) -> Iterator[Path]:
    """Folder of the miniature world, as ``python -m semalign_pl.toy write`` writes it.

    Copy it for commands that read a corpus of it: they keep the prepared rows beside the corpus.
    """
    from semalign_pl.toy.write import write

    folder = tmp_path_factory.mktemp("miniature") / "world"
    write(folder)
    written = set(folder.rglob("*"))
    yield folder
    added = set(folder.rglob("*")) ^ written
    assert not added, f"a test changed the shared world: {sorted(added)}; let it copy the folder"


@pytest.fixture
def runs(tmp_path, base, encoder, corpus, monkeypatch):
    """Runner of small command-line runs in a folder of this test."""
    from helpers.small_runs import Runs

    monkeypatch.setattr("sys.argv", ["semalign"])  # LightningCLI warns about further arguments
    return Runs(tmp_path, base, encoder, corpus)


@pytest.fixture(scope="session")
def sft_adapter(base, tmp_path_factory) -> str:
    """Folder of an adapter as written by SFT: rank 4, no dropout, with weights that change the logits."""
    import torch
    from helpers.tiny import CPU, stir

    from semalign_pl.policy.adapter import export_adapter
    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.settings import LoraSettings

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sft")
    export_adapter(stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, CPU), seed=1), folder)
    return str(folder)


@pytest.fixture
def policy(base, sft_adapter):
    """A policy trained further from the SFT adapter: base, reference and policy are three different models."""
    from helpers.tiny import CPU, stir

    from semalign_pl.policy.load import load_policy

    return stir(load_policy(base, "fp32", None, sft_adapter, CPU), seed=2, scale=0.05)


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    """Four prompts of four lengths, one of them a single token."""
    import torch

    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, 300, (n,), generator=generator).tolist() for n in (9, 4, 1, 6)]

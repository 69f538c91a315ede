"""``semalign export RUN``: the merged model and GGUF file of a run with new tokens, as other programs load them."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs
from helpers.tiny import relative
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from semalign_pl.__main__ import main

PROMPT = "老师在学校看书。"
TOKENS = 32


@pytest.fixture
def trained(runs: Runs) -> Path:
    """Folder of a run that has learnt to answer, with new Tibetan tokens."""
    vocabulary = {"language": "bo", "corpus": str(runs.corpus / "train.jsonl"), "column": "bo", "min_count": 2}
    flags = [f"model.init_args.vocabulary={json.dumps(vocabulary)}", "trainer.max_steps=60"]
    runs("fit", "sft", "run", "model.init_args.lora.dropout=0", *flags)
    return runs.folder / "run"


def test_a_run_becomes_a_merged_model_and_a_gguf_file(trained: Path, capsys: Any) -> None:
    llama_cpp_py_sync = pytest.importorskip("llama_cpp_py_sync")
    adapter, out = trained / "adapter", trained / "export"
    assert main(["export", str(trained), "--merge", "--dtype", "fp32", "--gguf", "q8_0"]) == 0
    assert f"written: {out}/model" in capsys.readouterr().out

    # transformers: the merged model is base and adapter, as PEFT loads them by itself, new tokens included.
    peft_model = AutoPeftModelForCausalLM.from_pretrained(adapter)
    merged: Any = AutoModelForCausalLM.from_pretrained(out / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(out / "model")
    assert len(tokenizer) > 400 and merged.config.vocab_size == len(tokenizer)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(adapter).chat_template is not None
    every = torch.arange(len(tokenizer))[None]
    with torch.no_grad():
        assert relative(merged(every).logits, peft_model(every).logits) <= 1e-5
    assert merged.generation_config.eos_token_id[0] == tokenizer.eos_token_id

    # llama.cpp: the same tokens for the prompt, and the same greedy answer.
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    file = out / "gguf" / "run-q8_0.gguf"
    llama = llama_cpp_py_sync.Llama(str(file), n_ctx=256, n_threads=1)
    for sample in (text, "དགེ་རྒན་སློབ་གྲྭར་དཔེ་ཆ་བལྟས།", "ཞིང་པ་ 3333 I've\n\n  学生"):
        expected = tokenizer(sample, add_special_tokens=False)["input_ids"]
        assert llama.tokenize(sample, add_special=False, parse_special=True) == expected
    ours = _greedy(lambda given: merged(torch.tensor([given])).logits[0, -1], ids)
    theirs = _greedy(lambda given: _llama_logits(llama, given), ids)
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 30, (ours, theirs)

    # Ollama: the template writes the prompt of the training.
    modelfile = (out / "gguf" / "Modelfile").read_text(encoding="utf-8")
    assert modelfile.startswith("FROM ./run-q8_0.gguf\n") and 'PARAMETER stop "<|im_end|>"\n' in modelfile
    template = modelfile.split('"""')[1].partition("{{ else }}")[2].replace("{{ end }}", "")
    assert template.replace("{{ .Prompt }}", PROMPT) == text
    for path in (*adapter.iterdir(), *(out / "model").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444, path


@torch.no_grad()
def _greedy(logits: Callable[[list[int]], torch.Tensor], prompt: list[int]) -> list[int]:
    """Most likely tokens after a prompt, with every step computed from the whole text."""
    ids = list(prompt)
    for _ in range(TOKENS):
        ids.append(int(logits(ids).argmax()))
    return ids[len(prompt) :]


def _llama_logits(llama: Any, ids: list[int]) -> torch.Tensor:
    """Logits of the next token by llama.cpp."""
    llama._clear_context_state()
    llama._eval_tokens(ids, 0)
    logits = llama._ffi.unpack(llama._lib.llama_get_logits_ith(llama._ctx, -1), llama.n_vocab)
    return torch.tensor(list(logits))

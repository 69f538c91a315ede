"""``semalign export RUN``: the merged model and GGUF file of a run with new tokens, as other programs load them."""

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch
from helpers.pairs import PAIRS
from helpers.small_runs import Runs
from helpers.tiny import relative
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from semalign_pl.__main__ import main

PROMPT = PAIRS[0]["zh"]
TOKENS = 32


@pytest.fixture
def trained(runs: Runs) -> Path:
    """Folder of a run that has learnt eight long answers by heart, with new Tibetan tokens."""
    rows = [{"zh": PAIRS[n]["zh"], "bo": "".join(PAIRS[(n + 5 * k) % 48]["bo"] for k in range(7))} for n in range(8)]
    train = runs.folder / "long.jsonl"
    train.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    vocabulary = {"language": "bo", "corpus": str(train), "column": "bo", "min_count": 2}
    flags = ["lora.dropout=0", "max_new_tokens=80", "micro_batch_tokens=4000", f"vocabulary={json.dumps(vocabulary)}"]
    data = [f"data.init_args.train={train}", "data.init_args.batch_size=8", "trainer.max_steps=150"]
    data.append("data.init_args.task.init_args.system=Translate.")
    runs("fit", "sft", "run", *(f"model.init_args.{flag}" for flag in flags), *data)
    return runs.folder / "run"


def test_a_run_becomes_a_merged_model_and_a_gguf_file(trained: Path, capsys: Any) -> None:
    adapter, out = trained / "adapter", trained / "export"
    (out / "gguf").mkdir(parents=True)
    (out / "gguf" / "run-Q4_K_M.gguf").write_bytes(b"of llama-quantize")
    assert main(["export", str(trained), "--merge", "--dtype", "fp32", "--gguf", "q8_0"]) == 0
    shown = capsys.readouterr().out
    assert f"written: {out}/model" in shown
    assert {file.name for file in (out / "gguf").iterdir()} == {"Modelfile", "run-Q4_K_M.gguf", "run-q8_0.gguf"}
    words = [
        token for token in AutoTokenizer.from_pretrained(adapter).added_tokens_decoder.values() if token.single_word
    ]
    assert (f"--gguf: {len(words)} new tokens, such as " in shown) == bool(words)

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
    turns = [{"role": "user", "content": PROMPT}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ours = list(ids)
    with torch.no_grad():
        for _ in range(TOKENS):
            ours.append(int(merged(torch.tensor([ours])).logits[0, -1].argmax()))
    with llama_server(out / "gguf" / "run-q8_0.gguf") as ask:
        for sample in (text, "དགེ་རྒན་སློབ་གྲྭར་དཔེ་ཆ་བལྟས།", "ཞིང་པ་ 3333 I've\n\n  学生"):
            expected = tokenizer(sample, add_special_tokens=False)["input_ids"]
            assert ask("tokenize", content=sample, add_special=False, parse_special=True)["tokens"] == expected
        greedy = {"n_predict": TOKENS, "temperature": 0, "ignore_eos": True, "return_tokens": True}
        theirs = ask("completion", prompt=text, **greedy)["tokens"]
        assert ask("apply-template", messages=turns)["prompt"] == text
    alike = sum(a == b for a, b in zip(ours[len(ids) :], theirs, strict=True))
    assert alike >= 30, (ours[len(ids) :], theirs)

    # Ollama: the template writes the prompt of the training.
    modelfile = (out / "gguf" / "Modelfile").read_text(encoding="utf-8")
    assert modelfile.startswith("FROM ./run-q8_0.gguf\n") and 'PARAMETER stop "<|im_end|>"\n' in modelfile
    assert 'SYSTEM """Translate."""\n' in modelfile
    template = modelfile.split('"""')[1].partition("{{ else }}")[2].replace("{{ end }}", "")
    assert template.replace("{{ .Prompt }}", PROMPT) == text
    for path in (*adapter.iterdir(), *(out / "model").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444, path


@contextmanager
def llama_server(file: Path) -> Iterator[Callable[..., Any]]:
    """Server of llama.cpp with one model; asked by endpoint and fields."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.n_gpu_layers = str(file), 256, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)

    def ask(endpoint: str, **fields: Any) -> Any:
        body = json.dumps(fields).encode()
        request = Request(f"{server.listening_address}/{endpoint}", body, {"content-type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    yield ask

"""Modelfile for Ollama: with its template and system text, a message becomes the prompt of the training."""

from __future__ import annotations

import re

import pytest
from helpers.template_kinds import KINDS, tokenizer_of
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.export.ollama import make_modelfile
from semalign_pl.types import Turn

MESSAGE = "老师在学校看书。"


def ollama_prompt(modelfile: str, message: str) -> str:
    """Prompt that Ollama writes for a user's message, as Go's templates work."""
    template, *system = re.findall(r'(?:TEMPLATE|SYSTEM) """(.*?)"""\n', modelfile, re.DOTALL)
    branch = 1 if system and system[0] else 2
    text = re.sub(
        r"\{\{ if \.System \}\}(.*?)\{\{ else \}\}(.*?)\{\{ end \}\}", rf"\{branch}", template, flags=re.DOTALL
    )
    text = text.replace("{{ .System }}", "".join(system)).replace("{{ .Prompt }}", message)
    return text.replace('{{ "{{" }}', "{{")


def tokenizer_of_kind(name: str) -> PreTrainedTokenizerFast:
    """Tokenizer of a kind: Gemma's adds BOS to every text, and SmolLM2's BOS opens its template alone."""
    tokenizer = tokenizer_of(KINDS[{"smollm2": "qwen2.5"}.get(name, name)])
    if name == "smollm2":
        tokenizer.bos_token = "<|im_start|>"
    if name == "gemma":
        bos = (tokenizer.bos_token, tokenizer.bos_token_id)
        processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
        tokenizer.backend_tokenizer.post_processor = processor
    return tokenizer


@pytest.mark.parametrize("name", ["qwen2.5", "smollm2", "gemma", "none"])
@pytest.mark.parametrize("system", [None, "", "Be brief.\nUse {{ }} <|im_end|>.", 'Say "x"'])
def test_ollama_writes_the_prompt_of_the_training(name: str, system: str | None) -> None:
    tokenizer = tokenizer_of_kind(name)
    end = KINDS["qwen2.5" if name == "smollm2" else name].end
    encoder = PromptEncoder(tokenizer, (tokenizer.convert_tokens_to_ids(end),))
    turns = ([] if system is None else [Turn("system", system)]) + [Turn("user", MESSAGE)]
    modelfile = make_modelfile(encoder, system)
    (ids,), _ = encoder.encode_prompts([turns], 500)
    # llama.cpp adds what the tokenizer adds to a text.
    written = tokenizer.decode(tokenizer("")["input_ids"]) + ollama_prompt(modelfile, MESSAGE)
    assert written == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert modelfile.count("PARAMETER temperature 0\nPARAMETER repeat_penalty 1\n") == 1
    assert (f'SYSTEM """{system}"""\n' in modelfile) == (
        name in ("qwen2.5", "smollm2") and bool(system) and system[-1:] != '"'
    )


def test_a_text_that_a_modelfile_cannot_hold_is_refused() -> None:
    encoder = PromptEncoder(tokenizer_of(KINDS["qwen2.5"]), (2,))
    with pytest.raises(ValueError, match=r'^data\.init_args\.task\.init_args\.system: """ ends a text'):
        make_modelfile(encoder, 'a """ b')

"""Stand-ins for published kinds of chat templates, of our own writing, each with a small tokenizer of its family."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 640
_TEXTS = [
    "老师在学校看书。学生在家里吃饭。农民在山上唱歌。",
    "དགེ་རྒན་སློབ་གྲྭར་དཔེ་ཆ་བལྟས། སློབ་མ་ནང་ལ་ཁ་ལག་བཟས། ཞིང་པ་རི་ལ་གླུ་བླངས།",
    "Be brief. You are a helpful assistant. The answer is here. Today Date: user assistant system",
] * 20


@dataclass(frozen=True)
class Kind:
    """Chat template with its tokenizer.

    Attributes:
        template: Jinja source; ``None`` for a tokenizer without a template.
        end: Token that ends an answer.
        eos: ``eos_token`` of the tokenizer.
        special: Control tokens.
        marks: Added tokens that are not special.
        bos: ``bos_token`` of the tokenizer.
        pieces: ``bytes`` (GPT-2's), or the ``prepend_scheme`` of Metaspace (SentencePiece's).
        variables: Variables that transformers' own rendering needs.
    """

    template: str | None
    end: str
    eos: str
    special: tuple[str, ...]
    marks: tuple[str, ...] = ()
    bos: str | None = None
    pieces: str = "bytes"
    variables: dict[str, Any] = field(default_factory=dict)


def tokenizer_of(kind: Kind) -> PreTrainedTokenizerFast:
    """Tokenizer trained on the tests' corpus."""
    special = [*dict.fromkeys([*kind.special, kind.eos])]
    raw = _byte_level(special) if kind.pieces == "bytes" else _metaspace(special, kind.pieces)
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token=kind.eos,
        bos_token=kind.bos,
        chat_template=kind.template,
        clean_up_tokenization_spaces=False,
    )
    made.add_tokens(list(kind.marks))
    return made


def _byte_level(special: list[str]) -> Tokenizer:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(_TEXTS, _trainer(special, initial_alphabet=alphabet))
    return raw


def _metaspace(special: list[str], scheme: Any) -> Tokenizer:
    """Tokenizer like Llama 2's and Gemma's: a space belongs to the next word, and unknown characters become bytes."""
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    in_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    raw.train_from_iterator(_TEXTS, _trainer(["<unk>", *special, *in_bytes]))
    whole = json.loads(raw.to_str())
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["content"] not in in_bytes]
    whole["model"]["byte_fallback"] = True
    raw = Tokenizer.from_str(json.dumps(whole))
    strip = [] if scheme == "never" else [decoders.Strip(" ", 1, 0)]
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return raw


def _trainer(special: list[str], **options: Any) -> trainers.BpeTrainer:
    size = VOCABULARY - 20
    return trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, **options)


_CHATML = """{%- for m in messages %}
{%- if loop.first and m.role != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

_QWEN3 = """{%- for m in messages %}
{%- set content = m.content %}
{%- if m.role == 'assistant' and '</think>' in content %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{{- content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

_LLAMA2 = """{%- if messages[0].role == 'system' %}
{%- set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}{%- set turns = messages[1:] %}
{%- else %}{%- set system = '' %}{%- set turns = messages %}{% endif %}
{%- for m in turns %}
{%- if m.role == 'user' %}
{{- bos_token + '[INST] ' + (system if loop.first else '') + m.content.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""

_LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{% endif %}
{%- set said = '' %}{%- set turns = messages %}
{%- if messages[0].role == 'system' %}
{%- set said = messages[0].content | trim %}{%- set turns = messages[1:] %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n' + said + '<|eot_id|>' }}
{%- for m in turns %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

_GEMMA = """{{ bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}{%- set role = 'model' if m.role == 'assistant' else m.role %}
{{- '<start_of_turn>' + role + '\\n' + m.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

_MISTRAL = """{{ bos_token }}{%- for m in messages %}
{%- if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}
{%- elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}
{%- else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{%- endfor %}"""

_PHI4 = """{%- for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""

_ZEPHYR = """{%- for m in messages %}
{%- if loop.first and m.role != 'system' %}
{{- '<|system|>\\nYou are a helpful assistant.' + eos_token + '\\n' }}{% endif %}
{{- '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""

_VISION = """<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}{{ ': ' }}
{%- for part in m['content'] %}{% if part['type'] == 'image' %}{{ '<image>' }}
{%- elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

_GRANITE = """{%- for m in messages %}
{{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"""

_COMMAND = """{{ bos_token }}{%- for m in messages %}
{%- set name = {'user': 'USER', 'assistant': 'CHATBOT', 'system': 'SYSTEM'}[m.role] %}
{{- '<|START_OF_TURN|><|' + name + '|>' + m.content.strip() + '<|END_OF_TURN|>' }}
{%- endfor %}{%- if add_generation_prompt %}{{ '<|START_OF_TURN|><|CHATBOT|>' }}{% endif %}"""

_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
KINDS = {
    "qwen2.5": Kind(_CHATML, "<|im_end|>", "<|endoftext|>", _CHATML_TOKENS),
    "qwen3": Kind(_QWEN3, "<|im_end|>", "<|im_end|>", _CHATML_TOKENS, ("<think>", "</think>")),
    "llama-2": Kind(_LLAMA2, "</s>", "</s>", ("<s>", "</s>"), bos="<s>", pieces="always"),
    "llama-3": Kind(
        _LLAMA3,
        "<|eot_id|>",
        "<|end_of_text|>",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
        variables={"date_string": "26 Jul 2024"},
    ),
    "gemma": Kind(
        _GEMMA,
        "<end_of_turn>",
        "<eos>",
        ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        pieces="never",
    ),
    "mistral": Kind(_MISTRAL, "</s>", "</s>", ("<s>", "</s>", "[INST]", "[/INST]"), bos="<s>", pieces="first"),
    "phi-4": Kind(_PHI4, "<|im_end|>", "<|endoftext|>", (*_CHATML_TOKENS, "<|im_sep|>")),
    "zephyr": Kind(_ZEPHYR, "</s>", "</s>", ("<s>", "</s>"), bos="<s>", pieces="first"),
    "vision": Kind(
        _VISION, "<end_of_utterance>", "<|im_end|>", ("<|im_start|>", "<|im_end|>", "<image>", "<end_of_utterance>")
    ),
    "granite": Kind(
        _GRANITE, "<|end_of_text|>", "<|end_of_text|>", ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")
    ),
    "command": Kind(
        _COMMAND,
        "<|END_OF_TURN|>",
        "<|END_OF_TURN|>",
        ("<BOS>", "<|END_OF_TURN|>"),
        ("<|START_OF_TURN|>", "<|USER|>", "<|CHATBOT|>", "<|SYSTEM|>"),  # not special here, but still marks
        bos="<BOS>",
        pieces="first",
    ),
    "none": Kind(None, "<|endoftext|>", "<|endoftext|>", ("<|endoftext|>",)),
    "none, pieces of words": Kind(None, "</s>", "</s>", ("<s>", "</s>"), bos="<s>", pieces="always"),
}

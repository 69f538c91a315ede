"""Run llama.cpp's converter: ``python llama_cpp_converter.py CONVERTER PRE [its own flags]``.

The converter recognises a pre-tokenizer by a hash of token ids, so it refuses a tokenizer with another
vocabulary although llama.cpp has its pre-tokenizer. This script gives it the name of the pre-tokenizer in that case. It
runs in a process of its own, because the converter puts modules of its own before installed ones.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Load the converter as a module, tell it the name of the pre-tokenizer, and run it."""
    script, name = Path(sys.argv[1]), sys.argv[2]
    sys.argv[:] = [str(script), *sys.argv[3:]]
    sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location("convert_hf_to_gguf", script)
    assert spec is not None and spec.loader is not None, "the caller has found the file"
    converter = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = converter
    spec.loader.exec_module(converter)
    # Releases before 2026 have the class in the script itself.
    text_model = getattr(sys.modules.get("conversion.base", converter), "TextModel", None)
    if name and text_model is not None:
        known = text_model.get_vocab_base_pre

        def get_vocab_base_pre(self: object, tokenizer: object) -> str:
            try:
                return known(self, tokenizer)
            except NotImplementedError:
                return name

        text_model.get_vocab_base_pre = get_vocab_base_pre
    converter.main()


if __name__ == "__main__":
    main()

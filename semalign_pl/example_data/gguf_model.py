"""Plain model folder from a GGUF file: weights are dequantised to fp32, so that adapters can be trained on them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GPT2_SPLIT = ("default", "gpt-2", "smollm")
"""Values of ``tokenizer.ggml.pre`` that transformers splits rightly: it reads every GGUF as GPT-2's pre-tokenizer."""


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a folder that ``base:`` and transformers load.

    Args:
        file: GGUF file of an architecture that transformers dequantises, with tokenizer and chat template inside.
        folder: Existing folder to write to.

    Raises:
        ValueError: If ``gguf`` is not installed, or the file cannot be read; one line with file and remedy.

    Warns:
        UserWarning: If the tokenizer's pre-tokenizer is another than GPT-2's.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ValueError(f"{file}: reading GGUF files needs the package gguf; pip install 'semalign-pl[real]'")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with _silence():
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                str(file.parent), gguf_file=file.name, dtype="float32", trust_remote_code=False
            )
    except Exception as error:  # gguf and transformers raise many kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{file}: not a GGUF model that transformers can read ({reason}); give another file"
        ) from error
    if (split := _read_split(file)) not in GPT2_SPLIT:
        warnings.warn(
            f"{file}: its tokenizer splits words as {split}, and transformers reads it as gpt-2; replace "
            "tokenizer.json in the new folder by the file from the model's own page",
            stacklevel=2,
        )
    use_byte_decoder(tokenizer.backend_tokenizer)
    # The loaded config still says that the weights are quantised, and saving would refuse or repeat it.
    settings = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    plain = AutoModelForCausalLM.from_config(
        type(model.config).from_dict(settings), dtype=model.dtype, trust_remote_code=False
    )
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    with _silence():
        plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def use_byte_decoder(tokenizer: Tokenizer) -> None:
    """Give GPT-2's decoder to a tokenizer with GPT-2's pre-tokenizer; others stay as they are.

    transformers 5.17 gives it one that joins all tokens first, so that a token that is added later leaves all byte
    tokens of a text undecoded.

    Args:
        tokenizer: Tokenizer from a GGUF file; changed in place.
    """
    from tokenizers import decoders, pre_tokenizers

    if isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        tokenizer.decoder = decoders.ByteLevel()


def _read_split(file: Path) -> str:
    """Name of the pre-tokenizer in a GGUF file; ``default`` if it names none."""
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    return "default" if field is None else str(field.contents())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide the progress bars of transformers and tqdm, which would fill a log."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the bar over the file's tensors heeds no setting
            yield
    finally:
        if shown:
            logging.enable_progress_bar()

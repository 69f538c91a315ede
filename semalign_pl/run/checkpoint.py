"""Check of a checkpoint before it is used: it must be a local file of tensors and plain values."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch

_REMEDY = "give a checkpoint that an earlier run of this stage wrote, RUN/checkpoints/….ckpt"
_URL = ("://", "::")
"""Marks of a URL, and of chained URLs, in fsspec: code that reads a URL may run the pickle that it downloads."""


def local_checkpoint(path: str) -> str:
    """Check a checkpoint that the user named.

    Lightning reads a path that begins with ``http`` with `torch.hub`, which executes the pickle in it, and other URLs
    with fsspec. A local, absolute path is read by ``torch.load`` with ``weights_only=True``.

    Args:
        path: Value of ``--ckpt_path``.

    Returns:
        Absolute path of the file, which no library takes for a URL.

    Raises:
        ValueError: If it is not a local file, not a checkpoint, or contains more than tensors and plain values.
    """
    if any(mark in path for mark in _URL):
        raise ValueError(
            f"--ckpt_path: {path} is a URL, and only local files are read, as what downloads it may run code in it; "
            f"{_REMEDY}"
        )
    file = Path(path).absolute()
    if not file.is_file():
        raise ValueError(f"--ckpt_path: there is no file {path}; {_REMEDY}, or leave it out to start afresh")
    _check_content(path, file)
    return str(file)


def _check_content(path: str, file: Path) -> None:
    half = f"--ckpt_path: {path} is not a checkpoint, or only half of one; {_REMEDY}"
    if not zipfile.is_zipfile(file):  # older formats of torch are plain pickles and tar files
        raise ValueError(half)
    try:  # memory-mapped, so that the tensors are not read here
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"--ckpt_path: {path} is not a checkpoint of this program: its pickle holds more than tensors and plain "
            f"values, which could run any code and is never read; {_REMEDY}"
        ) from error
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        raise ValueError(half) from error
    if not isinstance(content, dict) or not {"state_dict", "pytorch-lightning_version"} <= content.keys():
        raise ValueError(half)

"""Export of a finished run: its adapter or the merged model with a model card, GGUF file, and upload."""

from __future__ import annotations

from pathlib import Path

import torch

from semalign_pl.card.write import write_card
from semalign_pl.export.gguf import find_converter, write_gguf
from semalign_pl.export.hub import Upload
from semalign_pl.export.ollama import make_modelfile
from semalign_pl.messages.terminal import visible
from semalign_pl.policy.adapter import export_adapter, portable_base
from semalign_pl.policy.adapter_folder import CONFIG
from semalign_pl.policy.causal_lm import explain_load_errors
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.merged import export_model
from semalign_pl.policy.policy import Policy
from semalign_pl.run.finished import RESULTS, FinishedRun
from semalign_pl.run.results import read_training, write_training
from semalign_pl.types import Json

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def export_run(
    run: FinishedRun, out: Path, merge: bool, dtype: str | None, gguf: str | None, repository: str | None
) -> None:
    """Write a run's adapter, or base and adapter as one model, with a model card; upload it if asked.

    What can fail in a second is tried before the weights are loaded: converter, token and repository.

    Args:
        run: Run with an adapter.
        out: Folder that gets the subfolder ``adapter``, or ``model`` and ``gguf``.
        merge: True for the merged model.
        dtype: Precision of the merged model: ``bf16``, ``fp16`` or ``fp32``; ``None`` for that of the base.
        gguf: Type of the GGUF file's weights; ``None`` for no such file.
        repository: Repository of the hub, ``owner/name``; ``None`` to upload nothing.

    Raises:
        ValueError: If something cannot be loaded, merged, converted or uploaded; with the remedy.
        WriteError: If a folder cannot be written; the old one is unchanged.
    """
    assert run.adapter is not None, "the command refuses a run without one"
    base = portable_base(run.base)
    if repository is not None and not merge and Path(base).is_dir():
        raise ValueError(
            f"--push: the base of this adapter is the local folder {base}, which nobody else has; add --merge to "
            "upload base and adapter as one model"
        )
    converter = None if gguf is None else find_converter()
    upload = None if repository is None else Upload(repository, foreign=CONFIG if merge else "config.json")
    wanted = DTYPES[dtype] if dtype else _base_dtype(run.base)
    policy = _load(run, wanted)
    modelfile = make_modelfile(policy.encoder)
    folder = out / ("model" if merge else "adapter")
    facts = read_training(str(run.adapter)) or {}
    _write(policy, folder, merge, wanted)
    write_training(folder, **_without_time(facts), exported_from=str(run.path))
    write_card(folder, "model" if merge else "adapter", run.path, base, repository)
    print(visible(f"written: {folder}"))
    if run.results is None and (run.path / RESULTS).is_file():
        print(visible(f"the card has no scores: {run.path}/{RESULTS} is of a test of other weights than {run.adapter}"))
    folders = [folder]
    if converter is not None and gguf is not None:
        folders.append(out / "gguf")
        name = f"{run.path.resolve().name}-{gguf}"
        file = write_gguf(converter, folder, folders[-1], name, gguf, modelfile)
        print(visible(f"written: {file}"))
    if upload is not None:
        print(visible(f"uploaded: {upload.send(folders)}"))


def _load(run: FinishedRun, dtype: torch.dtype) -> Policy:
    """Policy on the CPU, its base in a precision that holds every bit of the base and of the result."""
    low = dtype == torch.bfloat16 and _base_dtype(run.base) == torch.bfloat16
    return load_policy(run.base, "bf16" if low else "fp32", None, str(run.adapter), torch.device("cpu"))


def _base_dtype(base: str) -> torch.dtype:
    """Precision of a base's own weights, as its config says; bfloat16 if it says none that models are written in."""
    from transformers import AutoConfig

    with explain_load_errors("model.init_args.base", base):
        found = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
    return next((dtype for dtype in DTYPES.values() if dtype == found), torch.bfloat16)


def _write(policy: Policy, folder: Path, merge: bool, dtype: torch.dtype) -> None:
    if merge:
        export_model(policy, folder, dtype)
    else:
        export_adapter(policy, folder)


def _without_time(facts: dict[str, Json]) -> dict[str, Json]:
    """Facts of a training without those that `write_training` adds."""
    return {key: value for key, value in facts.items() if key not in ("finished", "versions")}

"""Export of a finished run: its adapter or the merged model with a model card, GGUF file, and upload."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from semalign_pl.card.facts import PICTURE
from semalign_pl.card.write import CARD, write_card
from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.corpora import prompt_tasks
from semalign_pl.export.gguf import find_converter, list_whole_words, write_gguf
from semalign_pl.export.hub import Upload
from semalign_pl.export.ollama import make_modelfile
from semalign_pl.files.atomic import replace_folder, write_text
from semalign_pl.files.documents import read_json
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.terminal import visible
from semalign_pl.policy.adapter import portable_base
from semalign_pl.policy.adapter_folder import CONFIG, read_adapter_folder
from semalign_pl.policy.adapter_start import check_no_result, copy_facts
from semalign_pl.policy.causal_lm import explain_load_errors
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.merged import export_model
from semalign_pl.policy.policy import Policy
from semalign_pl.run.finished import RECIPE, RESULTS, FinishedRun
from semalign_pl.run.results import write_training

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def export_run(
    run: FinishedRun, out: Path, merge: bool, dtype: str | None, gguf: str | None, repository: str | None
) -> None:
    """Write a run's adapter, or base and adapter as one model, with a model card; upload it if asked.

    The base is loaded for the merged model only. What can fail in a second is tried before: converter, token and
    repository.

    Args:
        run: Run with an adapter.
        out: Folder that gets the subfolder ``adapter``, or ``model`` and ``gguf``.
        merge: True for the merged model.
        dtype: Precision of the merged model: ``bf16``, ``fp16`` or ``fp32``; ``None`` for that of the base.
        gguf: Type of the GGUF file's weights; ``None`` for no such file.
        repository: Repository of the hub, ``owner/name``; ``None`` to upload nothing.

    Raises:
        ValueError: If something cannot be loaded, merged, converted or uploaded, or the result would replace the run's
            own adapter; with the remedy.
        WriteError: If a folder cannot be written; the old one is unchanged.
    """
    assert run.adapter is not None, "the command refuses a run without one"
    folder, base = out / ("model" if merge else "adapter"), portable_base(run.base)
    if folder.resolve() == run.adapter.resolve():  # its test would then be of other weights, by their training.json
        raise ValueError(
            f"--out: {folder} is the run's own adapter, and the export would replace it; give another folder"
        )
    check_no_result(folder)
    if repository is not None and not merge and Path(base).is_dir():
        raise ValueError(
            f"--push: the base of this adapter is the local folder {base}, which nobody else has; add --merge to "
            "upload base and adapter as one model"
        )
    converter = None if gguf is None else find_converter()
    upload = None if repository is None else Upload(repository, foreign=CONFIG if merge else "config.json")
    facts, modelfile = copy_facts(str(run.adapter), folder), ""
    if merge:
        if dtype is None and _named_dtype(run.base) is None:
            print(visible(f"config.json of {run.base} names no dtype: written in bf16; --dtype sets another"))
        wanted = DTYPES[dtype] if dtype else base_dtype(run.base)
        policy = _load(run, wanted)
        modelfile = "" if converter is None else make_modelfile(policy.encoder, _system_text(run))
        whole_words = [] if converter is None else list_whole_words(policy.encoder.tokenizer)
        if whole_words:
            print(visible(_warn_of_whole_words(whole_words)))
        export_model(policy, folder, wanted)
    else:
        _copy_adapter(run.adapter, folder, base)
    write_training(folder, **facts, exported_from=str(run.path))
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


def _warn_of_whole_words(tokens: Sequence[str]) -> str:
    return (
        f"--gguf: {len(tokens)} new tokens, such as {tokens[0]!r}, were trained as whole words; llama.cpp also finds "
        "them within longer words, so some texts get other tokens than in training: measure the GGUF file, or serve "
        "the merged model with vLLM or transformers"
    )


def _system_text(run: FinishedRun) -> str | None:
    """System text of the prompts that a run is tested on; ``None`` if its task sets none."""
    data = parse_recipe(["--config", str(run.path / RECIPE)], "predict").make_data()
    tasks = prompt_tasks(data) if isinstance(data, CorpusDataModule) else {}
    return next((task.system for task, _ in tasks.values()), None)


def _load(run: FinishedRun, dtype: torch.dtype) -> Policy:
    """Policy on the CPU, its base in a precision that holds every bit of the base and of the result."""
    low = dtype == torch.bfloat16 and base_dtype(run.base) == torch.bfloat16
    return load_policy(run.base, "bf16" if low else "fp32", None, str(run.adapter), torch.device("cpu"))


def base_dtype(base: str) -> torch.dtype:
    """Precision of a base's own weights, as its config says; bfloat16 if it says none that models are written in."""
    return _named_dtype(base) or torch.bfloat16


def _named_dtype(base: str) -> torch.dtype | None:
    from transformers import AutoConfig

    with explain_load_errors("model.init_args.base", base):
        found = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype
    return next((dtype for dtype in DTYPES.values() if dtype == found), None)


def _copy_adapter(adapter: Path, folder: Path, base: str) -> None:
    """Copy an adapter with today's name of its base, which is not loaded; card and training.json are written anew."""
    read_adapter_folder(str(adapter), "RUN")  # refuses damaged weights
    config = read_json(adapter / CONFIG, "train again")
    own = shutil.ignore_patterns(CARD, PICTURE, "training.json")
    with replace_folder(folder) as made:
        shutil.copytree(adapter, made, ignore=own, dirs_exist_ok=True)
        write_text(made / CONFIG, to_json({**config, "base_model_name_or_path": base}, folder / CONFIG, indent=2))

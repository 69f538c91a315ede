"""Private members of other libraries that this package uses: if a new release lacks one, this test names it.

The upper bounds in pyproject.toml are the newest versions that passed this test.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import semalign_pl

CONTRACT: dict[str, str | None] = {
    # member: the beginning of its parameters, or None for an attribute
    "argparse.ArgumentParser()._actions": None,
    "bitsandbytes.nn.Linear4bit.forward": "self, x",
    "datasets.Dataset.from_dict({})._fingerprint": None,
    "torch._foreach_copy_": None,
    "torch.cuda.memory._cuda_endAllocateToPool": None,
    "torch.cuda.memory._cuda_releasePool": None,
    "torch._grouped_mm": None,
    "torch.empty(0)._is_view": None,
    "jsonargparse.get_loader": "mode",
    "jsonargparse.set_loader": "mode, loader_fn, exceptions",
    "lightning.pytorch.cli.LightningArgumentParser._parse_common": "self, cfg, env, defaults",
    "lightning.pytorch.cli.LightningCLI._add_instantiators": "self",
    "lightning.pytorch.cli.LightningCLI._parse_ckpt_path": "self",
    "lightning.pytorch.cli.LightningCLI._prepare_subcommand_kwargs": "self, subcommand",
    "lightning.pytorch.Trainer(logger=False, accelerator='cpu').fit_loop.epoch_loop._batches_that_stepped": None,
    "lightning.pytorch.Trainer(logger=False, accelerator='cpu')._accelerator_connector": None,
    "lightning.pytorch.Trainer(logger=False, accelerator='cpu')._data_connector": None,
    "lightning.pytorch.trainer.connectors.data_connector._DataConnector._prepare_dataloader": "self, dataloader",
    "lightning.pytorch.Trainer(logger=False, accelerator='cpu').fit_loop._data_fetcher": None,
    "lightning.pytorch.Trainer(logger=False, accelerator='cpu').fit_loop.epoch_loop.val_loop._restart_stage": None,
    "lightning.pytorch.Trainer(logger=False, accelerator='cpu').strategy._checkpoint_io": None,
    "lightning.pytorch.callbacks.ModelCheckpoint()._train_time_interval": None,
    "lightning.fabric.utilities.types._PATH": None,
    "lightning.pytorch.loops.progress._ProcessedTracker": None,
    "lightning.pytorch.plugins.io.wrapper._WrappingCheckpointIO": "checkpoint_io",
    "lightning.pytorch.strategies.launchers.subprocess_script._SubprocessScriptLauncher": None,
    "openpyxl.worksheet._read_only.ReadOnlyWorksheet.__init__": "self, parent_workbook, title, worksheet_path",
    "os._exit": "status",
    "peft.tuners.tuners_utils._maybe_include_all_linear_layers": "peft_config, model",
    "peft.tuners.tuners_utils.check_target_module_exists": "config, key",
    "peft.utils.other.get_pattern_key": "pattern_keys, key_to_match",
    "peft.tuners.tuners_utils.BaseTunerLayer._active_adapter": None,
    "peft.tuners.tuners_utils.BaseTunerLayer._disable_adapters": None,
    "sacrebleu.metrics.CHRF()._extract_corpus_statistics": "hypotheses, references",
    "torch.empty(0).untyped_storage()._cdata": None,
    "torch.empty(0)._version": None,
    "torch.nn.modules.module._IncompatibleKeys": "missing_keys, unexpected_keys",
    "torch.utils._python_dispatch.TorchDispatchMode.__torch_dispatch__": "self, func, types",
    "torch.utils._pytree.tree_leaves": "tree",
    "transformers.masking_utils.find_packed_sequence_indices": "position_ids",
    "transformers.PreTrainedConfig()._attn_implementation": None,
    "transformers.PreTrainedModel._supports_attention_backend": None,
    "transformers.PreTrainedModel.warn_if_padding_and_no_attention_mask": "self, input_ids, attention_mask",
    "transformers.integrations.peft.PeftAdapterMixin._hf_peft_config_loaded": None,
    "transformers.PreTrainedTokenizerFast.__init__": "self",  # sets _tokenizer, see OF_INSTANCES
    "transformers.utils.chat_template_utils._compile_jinja_template": "chat_template",
}
OF_INSTANCES = {
    "_custom_headers": "openai._base_client",
    "_subcommand_parsers": "lightning.pytorch.cli",
    "_tokenizer": "transformers.tokenization_utils_tokenizers",
    "_worksheet_path": "openpyxl.worksheet._read_only",
}
"""Attributes that only instances have, and the module whose source sets them."""
PRIVATE = re.compile(r"_[a-zA-Z]\w*")


def find(member: str) -> object:
    """Member with a path such as ``package.module.Class().attribute``."""
    path = member.split("(")[0].split(".")
    for cut in range(len(path), 0, -1):
        try:
            module = importlib.import_module(".".join(path[:cut]))
        except ImportError:
            continue
        return eval("module" + member[len(".".join(path[:cut])) :], {"module": module})
    raise ImportError(member)


@pytest.mark.parametrize("member", CONTRACT)
def test_the_member_is_there(member: str) -> None:
    library = member.split(".")[0]
    try:
        found = find(member)
    except (AttributeError, ImportError) as error:
        pytest.fail(f"{library} has no {member} any more ({error}): see who uses it, then lower or raise its bound")
    parameters = CONTRACT[member]
    if parameters is not None:
        there = ", ".join(inspect.signature(found).parameters)  # type: ignore[arg-type]
        assert there.startswith(parameters), f"{member} takes ({there}) now, not ({parameters}, …)"


@pytest.mark.parametrize("name", OF_INSTANCES)
def test_the_instance_sets_it(name: str) -> None:
    module = OF_INSTANCES[name]
    source = inspect.getsource(importlib.import_module(module))
    assert re.search(rf"self\.{name}\b.* = ", source), f"{module} sets no {name} any more"


def uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines and names of private members of anything except ``self`` and this package's modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(("semalign_pl", "__future__")):
            yield from ((node.lineno, alias.name) for alias in node.names if PRIVATE.fullmatch(alias.name))
        if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.lineno, node.attr
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if PRIVATE.fullmatch(str(name)):
                yield node.lineno, str(name)


def test_every_private_member_is_in_the_contract() -> None:
    trees = {file: ast.parse(file.read_text("utf-8")) for file in Path(semalign_pl.__file__).parent.rglob("*.py")}
    own = {n.name for tree in trees.values() for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    own |= {n.attr for t in trees.values() for n in ast.walk(t) if isinstance(n, ast.Attribute) and _is_own(n)}
    known = own | {member.rpartition(".")[2] for member in CONTRACT} | set(OF_INSTANCES)
    unknown = [f"{f.name}:{line}: {name}" for f, t in trees.items() for line, name in uses(t) if name not in known]
    assert not unknown, f"add to CONTRACT, or do without: {unknown}"


def _is_own(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"


FLOORS = {
    # lowest releases without known advisories, with the effects of older ones
    "lightning": "2.6.6",
    "torch": "2.10",  # weights_only could be made to corrupt memory (CVE-2026-24747)
    "transformers": "5.10",  # code of the hub in spite of trust_remote_code=False (CVE-2026-4372, CVE-2026-5241)
    "pyarrow": "23.0.1",  # use after free in its reader (CVE-2026-25087)
    "nltk": "3.10",  # CVE-2026-33231, and reading resources outside its data folders
    "jinja2": "3.1.6",  # escapes from the sandbox (CVE-2025-27516)
    "datasets": "4",  # older ones run a loading script next to the data
    "sentence-transformers": "6.2",  # before 6.0, code in a local folder was trusted
}


def declared(package: str) -> str:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf'^    "{package}(\[\w+\])?([^"]*)"', text, re.M)
    assert found is not None
    return found[2]


@pytest.mark.parametrize("package", FLOORS)
def test_no_release_with_a_known_advisory_is_admitted(package: str) -> None:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    allowed, floor = SpecifierSet(declared(package)), Version(FLOORS[package])
    below = Version(f"{floor.major}.{floor.minor}.{floor.micro - 1}") if floor.micro else Version(f"{floor}.dev0")
    assert floor in allowed and below not in allowed and version(package) in allowed


@pytest.mark.parametrize("package", sorted({"jsonargparse", "lightning", "peft", "sacrebleu", "transformers"}))
def test_what_is_used_privately_has_an_upper_bound(package: str) -> None:
    from packaging.specifiers import SpecifierSet

    allowed = SpecifierSet(declared(package))
    assert version(package) in allowed and any(one.operator == "<" for one in allowed)


def test_tested_versions_are_admitted() -> None:
    """constraints.txt names no version that pyproject.toml refuses, for any Python."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    root = Path(__file__).parents[1]
    pinned = [Requirement(line) for line in (root / "constraints.txt").read_text().splitlines() if line[:1].isalnum()]
    direct = (
        (root / "pyproject.toml").read_text(encoding="utf-8").partition("\ndependencies = [")[2].partition("\n]")[0]
    )
    listed = re.findall(r'^    "([^"]+)",', direct, re.M)
    needed = {r.name.lower().replace("_", "-"): r.specifier for r in map(Requirement, listed)}
    for pin in pinned:
        (one,) = pin.specifier
        assert one.version in needed.get(pin.name.lower().replace("_", "-"), SpecifierSet()), pin

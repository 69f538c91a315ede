"""Classes read from source have the arguments, defaults and texts that jsonargparse finds by importing them."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest
from jsonargparse._parameter_resolvers import get_signature_parameters
from lightning.pytorch import Callback, Trainer

from semalign_pl.start.keys import MODULES, all_keys, find_shipped, own_keys, trainer_parameters
from semalign_pl.start.source_class import Parameter, read_class, shipped_classes


def named_by_recipes() -> list[str]:
    """Modules, data module, and all callbacks of the package, rewards and probes among them."""
    found = [
        *MODULES,
        "CorpusDataModule",
        "LoraSettings",
        "VocabularySettings",
        "Preparation",
        "AnchorSettings",
        "Corpus",
    ]
    for name, module in shipped_classes().items():
        if module.split(".")[1] in ("callbacks", "rewards", "probes"):
            one = getattr(importlib.import_module(module), name)
            found += [name] if issubclass(one, Callback) and one.__module__ == module else []
    return found


@pytest.mark.parametrize("name", named_by_recipes())
def test_arguments_are_those_of_jsonargparse(name: str) -> None:
    found = find_shipped(name)
    assert found is not None
    one = getattr(importlib.import_module(found.module), name)
    expected = {parameter.name: parameter for parameter in get_signature_parameters(one, None)}
    assert [p.name for p in found.parameters] == list(expected) or {p.name for p in found.parameters} == set(expected)
    for parameter in found.parameters:
        theirs = expected[parameter.name]
        required = theirs.default is inspect.Parameter.empty
        assert (parameter.default is None) == required, parameter
        if isinstance(theirs.default, bool | int | float) or theirs.default is None:
            assert parameter.default == {None: "null", True: "true", False: "false"}.get(
                theirs.default if theirs.default is None or isinstance(theirs.default, bool) else "",
                str(theirs.default),
            )
        attributes = (one.__doc__ or "").partition("Attributes:")[2]
        if f" {parameter.name}:" not in attributes or "Args:" not in (one.__doc__ or ""):  # jsonargparse shows these
            assert parameter.help == " ".join((theirs.doc or "").split())


@pytest.mark.parametrize("name", [*MODULES, "CorpusDataModule"])
def test_every_key_of_the_help_has_words(name: str) -> None:
    found = find_shipped(name)
    assert found is not None and found.summary.endswith(".")
    assert [p.name for p in found.parameters if not p.help] == []


def test_aliases_of_literals_are_spelt_out() -> None:
    found = find_shipped("GRPOModule")
    assert found is not None
    by_name = {p.name: p for p in found.parameters}
    assert by_name["weights"] == Parameter(
        "weights",
        "Literal['nf4', 'bf16', 'fp32']",
        "nf4",
        "Quantisation or precision of the frozen base: nf4 (4-bit, double quantisation), bf16 or fp32.",
        "AlignModule",
    )
    assert by_name["optimizer"].default == "torch.optim.AdamW(lr=5e-07)"
    assert by_name["lora"].settings == (("semalign_pl.policy.settings", "LoraSettings"),)


def test_the_trainers_arguments_are_those_of_the_trainer() -> None:
    assert [p.name for p in trainer_parameters()] == list(inspect.signature(Trainer).parameters)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_keys_are_those_of_the_commands_parser(command: str) -> None:
    from semalign_pl.cli.parsed_recipe import parse_recipe

    cli = parse_recipe(["--config", "configs/quickstart/cold_start.yaml"], command)
    parsers = cli.parser, cli._parser(command)
    theirs = {action.dest for parser in parsers for action in parser._actions} - {"print_shtab"}
    assert {key for key in theirs if not key.endswith(".help")} == set(all_keys(command))
    assert set(own_keys(command)) <= theirs


def test_a_class_that_is_not_there() -> None:
    assert find_shipped("NoSuchModule") is None and find_shipped("torch.optim.AdamW") is None
    assert read_class("semalign_pl.no_such_module", "X") is None


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from semalign_pl.start.help_page import command_page, trainer_page; command_page('fit', 'x');"
        "trainer_page(); heavy = {'torch', 'lightning', 'jsonargparse'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

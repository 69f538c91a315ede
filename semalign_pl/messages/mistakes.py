"""Summary of jsonargparse's report of several lines in one line: the key, what is wrong with it, and what to do."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from semalign_pl.files.documents import TooLargeError, load_yaml
from semalign_pl.files.yaml_keys import DuplicateKeyError
from semalign_pl.messages.missing_packages import explain_missing
from semalign_pl.messages.parser_report import Report, classes, options
from semalign_pl.messages.suggestion import suggest

_SEE = "see `semalign {command} --help`"


def summarise(message: str, keys: Sequence[str] = (), args: Sequence[str] = ()) -> str:
    """Summarise jsonargparse's nested report in one line.

    Args:
        message: Report of jsonargparse.
        keys: Keys that the parser accepts.
        args: Command line.

    Returns:
        Key as the user wrote it, what is wrong, and a remedy. A report of an unknown kind is returned as it is, on one
        line.
    """
    see = _SEE.format(command=args[0] if args else "fit")
    for pattern, explain in _KINDS:
        if match := re.search(pattern, message):
            return explain(match, Report(message, keys, args, see))
    return " ".join(message.split("Given value type:")[0].split())


# -- kinds of mistakes -------------------------------------------------------------------------------------------


_SETTINGS = {"lora": "LoraSettings", "vocabulary": "VocabularySettings", "prepare": "Preparation", "task": "Task"}
"""Class of an entry by its key, for a report that does not say it."""


def _unknown_option(match: re.Match[str], report: Report) -> str:
    name = match[1]
    path, around = report.path(lambda key, _: key == name, name)
    subtypes = re.findall(r"<class '([\w.]+)'>", report.message)
    if around is None and (settings := [n for n in [*report.inner, *path.split(".")[:-1]] if n in _SETTINGS]):
        around = _SETTINGS[settings[-1]]
    if around is None and report.outer in ("model", "data"):
        around = subtypes[0] if subtypes else None
    keys = options(around)
    advice = f"it has {', '.join(keys)}" if keys else report.see
    return f"{path}: there is no such key; {suggest(name, keys, advice)}"


def _unknown_corpus_key(match: re.Match[str], report: Report) -> str:
    from semalign_pl.data.corpora import Corpus

    name, keys = match[1], [*Corpus.__dataclass_fields__]
    path, _ = report.path(lambda key, _: key == name, name)
    return f"{path}: there is no such key; {suggest(name, keys, 'a corpus has ' + ', '.join(keys))}"


def _no_class(match: re.Match[str], report: Report) -> str:
    path, _ = report.path(lambda _, value: isinstance(value, dict) and [*value] == ["init_args"], "class_path")
    return f"{path}: names no class; add class_path, the name of a {match[1]}"


_NAMES_ELSEWHERE = {
    "learning_rate": "model.init_args.optimizer.init_args.lr",
    "lr": "model.init_args.optimizer.init_args.lr",
    "model_name_or_path": "model.init_args.base",
    "dataset_name": "data.init_args.train",
    "output_dir": "trainer.default_root_dir",
    "num_train_epochs": "trainer.max_epochs",
    "epochs": "trainer.max_epochs",
    "per_device_train_batch_size": "data.init_args.batch_size",
    "resume_from_checkpoint": "ckpt_path",
    "seed": "seed_everything",
    "lora_r": "model.init_args.lora.r",
}
"""Keys of a recipe, by the flags of transformers and TRL that mean the same."""
_FLAGS_ONLY = ("help", "config", "print_config", "print_shtab", "subcommand")


def _unknown_key(match: re.Match[str], report: Report) -> str:
    key = match[1].split()[0].split("=")[0]
    if not key.startswith("-") and "unrecognized" in match[0]:
        flag = "--config" if key.endswith((".yaml", ".yml")) else "--KEY"
        return f"{key}: this argument belongs to no flag; write it as {flag} {key}, or leave it out"
    bare = key.lstrip("-")
    if key.startswith("-") and bare in _NAMES_ELSEWHERE:
        return f"{key}: there is no such key; here it is --{_NAMES_ELSEWHERE[bare]}"
    head = bare.split(".")[0]
    tops = [k for k in dict.fromkeys(k.split(".")[0] for k in report.keys) if k not in _FLAGS_ONLY]
    if "." in bare and head not in tops and (close := difflib.get_close_matches(head, tops, n=1)):
        return f"{head}: there is no such key; did you mean {close[0]}?{report.place(head)}"
    advice = report.see if key.startswith("-") else f"there are {', '.join(tops)}"
    return f"{key}: there is no such key; {suggest(bare, report.keys, advice)}{report.place(head)}"


def _unknown_class(match: re.Match[str], report: Report) -> str:
    name = match[1]
    path, _ = report.path(lambda _, value: value == name, "class_path")
    public = [n for n in classes() if not n.startswith("_")]
    advice = "give a class by its import path, package.module.Class, and see that the module can be imported"
    return f"{path}: there is no class {name}; {suggest(name.split('.')[-1], public, advice)}"


def _other_class(match: re.Match[str], report: Report) -> str:
    path, _ = report.path(lambda _, value: value == match[1], "class_path")
    return f"{path}: {match[1]} is no {match[2]}; give the import path of a class derived from {match[2]}"


def _ambiguous(match: re.Match[str], report: Report) -> str:
    path, _ = report.path(lambda _, value: value == match[1], "class_path")
    return f"{path}: there are several classes {match[1]}; give one of {match[2]}"


def _no_import(match: re.Match[str], report: Report) -> str:
    path, _ = report.path(lambda _, value: value == match[1], "class_path")
    advice = "check its spelling, and that its module is on PYTHONPATH"
    return f"{path}: cannot import {match[1]} ({match[2].strip()}); {advice}"


_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "NoneType": "null"}
_WORDS["CorpusKeys"] = "{path: …} with columns, task, weight, where or split"


def _not_callable(match: re.Match[str], report: Report) -> str:
    """Message for an optimiser or scheduler that cannot be imported or is of another type."""
    kind, reason = match[1].rpartition(".")[2], match[2].strip().rstrip(".")
    path, name = report.inner_path(), (re.search(r"class_path='([^']+)'", match[3]) or ["", match[3].strip()])[1]
    if missing := explain_missing(reason):
        return f"{path}: {name}: {missing}"
    if absent := re.fullmatch(r"module '([\w.]+)' has no attribute '(\w+)'", reason):
        there = vars(importlib.import_module(absent[1])).items()
        names = [key for key, one in there if isinstance(one, type) and kind in [base.__name__ for base in one.__mro__]]
        return f"{path}: there is no class {name}; {suggest(absent[2], names, 'check its spelling')}"
    example = {"LRScheduler": "Cosine or torch.optim.lr_scheduler.StepLR", "Optimizer": "torch.optim.AdamW"}.get(kind)
    return f"{path}: {name} is no {kind}" + (f"; give one, e.g. {example}" if example else f" ({reason})")


def _wrong_type(match: re.Match[str], report: Report) -> str:
    kind, value = match[1], match[2].strip()
    path = report.inner_path()
    if literal := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return f"{path}: {value} is none of {literal[1].replace(chr(39), '')}; give one of them"
    name = re.sub(r"<class '(?:.*\.)?(\w+)'>", r"\1", kind)
    return f"{path}: needs {_WORDS.get(name, name)}, not {value!r}"


def _wrong_union(match: re.Match[str], report: Report) -> str:
    innermost = re.findall(r"Subtypes: \[(.*)\]", report.message)[-1]
    names = re.findall(r"<class '(?:[^']*?\.)?(\w+)'>", innermost)
    value = re.findall(r"Given value: ([^\n]*)", report.message)
    choices = re.findall(r"'([^']+)'", " ".join(re.findall(r"typing\.Literal\[[^\]]*\]", innermost)))
    needed = " or ".join([*choices, *(str(_WORDS.get(name, name)) for name in names)]) or innermost
    return f"{report.inner_path()}: needs {needed}, not {value[0][:80] if value else 'this'!r}"


def _missing_value(match: re.Match[str], report: Report) -> str:
    name = match[1].split(",")[0].strip()
    if not report.outer:
        key = name.split(".", 1)[-1]
        example = {"model": "SFTModule or GRPOModule", "data": "CorpusDataModule"}.get(key)
        what = f"{key}.class_path, e.g. {example}" if example else key
        recipe = "" if {"-c", "--config"} & {arg.split("=")[0] for arg in report.args} else "; --config FILE reads one"
        return f"{key}: it is required but not set; set {what}, in the YAML or as a flag{recipe}"
    path, _ = report.path(lambda key, value: key == name and value is None, name)
    if name == "optimizer" and ".lr_scheduler." in path:  # a function: it has no arguments of a scheduler
        where = path.partition(".init_args.optimizer")[0]
        return f"{where}: it is no class of schedulers; give one, e.g. Cosine or torch.optim.lr_scheduler.StepLR"
    if report.given is None or not path.startswith(report.outer):
        path = f"{report.outer}.init_args.{name}"
    elif isinstance(report.given, list) and "[" not in path:
        at = next((i for i, one in enumerate(report.given) if name not in str(one)), 0)
        path = f"{report.outer}[{at}].init_args.{name}"
    return f"{path}: it is required but not set; set it in the YAML or as a flag"


def _no_yaml(match: re.Match[str], report: Report) -> str:
    for file in report.files():
        try:
            load_yaml(Path(file).read_text(encoding="utf-8"))
        except (TooLargeError, DuplicateKeyError) as error:
            return f"--config: {file}: {error}"
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "some line"
            remedy = "indent with spaces there" if "'\\t'" in str(error.problem) else "mend that line"
            return f"--config: {file} is not YAML: {where}: {error.problem}; {remedy}"
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            return f"--config: {file} cannot be read: {error}; give a UTF-8 YAML file"
    return f"--config: not YAML: {match[1]}; mend it"


def _no_keys(match: re.Match[str], report: Report) -> str:
    given = match[1].strip()
    what = f"is only {given[:60]!r}" if given else "is empty"
    file = " or ".join(report.files()) or "the file"
    return f"--config: {file} {what}; give a YAML file with keys such as model and data"


def _no_file(match: re.Match[str], report: Report) -> str:
    return f"--{report.outer}: there is no file {match[1]}; check the path, it is relative to the working folder"


def _folder(match: re.Match[str], report: Report) -> str:
    return f"--{report.outer}: {match[1]} is not a file; give the YAML file in it"


def _no_value(match: re.Match[str], report: Report) -> str:
    flag = next((a for a in reversed(report.args) if a.startswith(match[1])), match[1])
    return f"{flag}: the flag needs a value; write {flag} VALUE"


_KINDS: tuple[tuple[str, Callable[[re.Match[str], Report], str]], ...] = (
    (r"(model\.init_args\.lr_scheduler: [^\n]*)", lambda match, _: match[1]),  # messages of check_schedule
    (r"Option '([^']+)' is not accepted", _unknown_option),
    (r"does not accept option '([^']+)'", _unknown_key),
    (r"unrecognized arguments: (.+)", _unknown_key),
    (r"Problems parsing config: ([^\n]*)", _no_yaml),
    (r"Unexpected config: ?(.*)", _no_keys),
    (r"File does not exist: '([^']*)'", _no_file),
    (r"Path is not a file: '([^']*)'", _folder),
    (r"argument (--?[\w.]+): expected one argument", _no_value),
    (r"the following arguments are required: ([^\n]+)", _missing_value),
    (r"Expected a ([^\n]+?)\. Got value: ([^\n]*)", _wrong_type),
    (r"Expected '([^']+)' to be a (?:subclass of|function that returns) <class '(?:[\w.]+\.)?(\w+)'>", _other_class),
    (r"Multiple subclasses with name (\w+)\. Give the full class path to avoid ambiguity: ([^\n]*)\.", _ambiguous),
    (r"Problem with given class_path '([^']+)':\s*([^\n]*)", _no_import),
    (r"Expected a dot import path string: ([^\n]*)", _unknown_class),
    (r"Type ([^\n]+?)\]? expects a function or a callable class: ([^\n]*) Got value: ([^\n]*)", _not_callable),
    (r"Unexpected keys: \{'([^']+)'", _unknown_corpus_key),
    (r"Not a valid subclass of (\w+)\. Got value: \{'init_args'", _no_class),
    (r"Subtypes: \[(.*)\]", _wrong_union),
)

"""``semalign completion``: a script that completes commands, flags and files in bash, zsh or fish.

The script is static, since a program that is asked at every key press would have to load torch to know the flags.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.start.keys import COMMANDS as TRAINING
from semalign_pl.start.keys import MODULES, find_shipped, own_keys, trainer_parameters
from semalign_pl.start.source_class import module_file

SHELLS = {
    "bash": "semalign completion bash > ~/.local/share/bash-completion/completions/semalign",
    "zsh": "semalign completion zsh > FOLDER/_semalign, where FOLDER is in your fpath before compinit",
    "fish": "semalign completion fish > ~/.config/fish/completions/semalign.fish",
}


def run(args: Sequence[str]) -> int:
    """Run ``semalign completion``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    from semalign_pl.__main__ import COMMANDS

    install = "; ".join(f"{shell}: {line}" for shell, line in SHELLS.items())
    parser = CommandParser(
        prog="semalign completion",
        description=f"Print a script that completes commands, flags and files. To install it, {install}",
    )
    parser.add_argument("shell", choices=tuple(SHELLS), help="shell to complete in")
    with one_line(args) as status:
        shell = parser.parse_args(list(args[1:])).shell
        helps = {name: command.help for name, command in COMMANDS.items()}
        flags = {name: command_flags(name, command.module) for name, command in COMMANDS.items()}
        print({"bash": bash, "zsh": zsh, "fish": fish}[shell](helps, flags))
    return status.code


def command_flags(command: str, module: str) -> dict[str, bool]:
    """Flags of a command, read from the source of its module and of ``flags.py`` beside it; true if they take a value.

    Args:
        command: Name of the command.
        module: Module that runs it.
    """
    if command in TRAINING:
        classes = [found for name in (*MODULES, "CorpusDataModule") if (found := find_shipped(name)) is not None]
        inner = [
            f"--{'data' if found.name == 'CorpusDataModule' else 'model'}.init_args.{one.name}"
            for found in classes
            for one in found.parameters
        ]
        trainer = [f"--trainer.{one.name}" for one in trainer_parameters()]
        own = [f"--{key}" for key in own_keys(command)]
        names = [*own, "--model", "--data", "--model.help", "--trainer.help", *inner, *trainer, "--help"]
        return {name: name not in ("--resume", "--print_config", "--trainer.help", "--help") for name in names}
    file = module_file(module)
    sources = [] if file is None else [one for one in (file, file.with_name("flags.py")) if one.is_file()]
    flags: dict[str, bool] = {}
    for node in (node for source in sources for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))):
        called = ""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if isinstance(node, ast.Call) and called in ("add_argument", "add"):  # flags.py calls the method add
            names = [str(one.value) for one in node.args if isinstance(one, ast.Constant)]
            actions = [getattr(one.value, "value", None) for one in node.keywords if one.arg == "action"]
            flags |= {name: actions in ([], ["append"]) for name in names if name.startswith("--")}
        elif called == "parse_known_args":
            flags["--config"] = True  # the rest are flags of a recipe
    return {**flags, "--help": False}


def bash(helps: Mapping[str, str], flags: Mapping[str, Mapping[str, bool]]) -> str:
    """Script for bash.

    Args:
        helps: Help line of each command.
        flags: Flags of each command; true for those that take a value.
    """
    cases = "\n".join(f"        {name}) flags='{' '.join(flags[name])}' ;;" for name in helps)
    return f"""\
# semalign completion bash
_semalign() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} flags=''
    COMPREPLY=()
    if [[ $COMP_CWORD == 1 ]]; then
        COMPREPLY=($(compgen -W '{" ".join(helps)} --help --version' -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$word")); fi
}}
complete -o default -o bashdefault -F _semalign semalign"""


def zsh(helps: Mapping[str, str], flags: Mapping[str, Mapping[str, bool]]) -> str:
    """Script for zsh.

    Args:
        helps: Help line of each command.
        flags: Flags of each command; true for those that take a value.
    """
    commands = "\n".join(f"            {_quote(f'{name}:{text}')}" for name, text in helps.items())
    cases = "\n".join(f"        {name}) flags=({' '.join(flags[name])}) ;;" for name in helps)
    return f"""\
#compdef semalign
_semalign() {{
    local -a commands flags
    if (( CURRENT == 2 )); then
        commands=(
{commands}
        )
        _describe command commands
        return
    fi
    case $words[2] in
{cases}
    esac
    if [[ $words[CURRENT] == -* ]]; then compadd -- $flags; else _files; fi
}}
if [[ $funcstack[1] == _semalign ]]; then _semalign "$@"; else compdef _semalign semalign; fi"""


def fish(helps: Mapping[str, str], flags: Mapping[str, Mapping[str, bool]]) -> str:
    """Script for fish.

    Args:
        helps: Help line of each command.
        flags: Flags of each command; true for those that take a value.
    """
    lines = ["# semalign completion fish"]
    lines += [f"complete -c semalign -n __fish_use_subcommand -f -a {n} -d {_quote(t)}" for n, t in helps.items()]
    for name in helps:
        seen = f"complete -c semalign -n '__fish_seen_subcommand_from {name}' -l"
        lines += [f"{seen} {flag[2:]}{' -r' if takes_value else ''}" for flag, takes_value in flags[name].items()]
    return "\n".join(lines)


def _quote(text: str) -> str:
    escaped = text.replace("'", "’")
    return f"'{escaped}'"

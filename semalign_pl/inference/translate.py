"""``semalign translate``: a finished run's answers to a text, a file or stdin."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.quiet import quieten
from semalign_pl.messages.terminal import visible
from semalign_pl.run.finished import FinishedRun

if TYPE_CHECKING:
    from semalign_pl.inference.inputs import Inputs
    from semalign_pl.inference.loaded_run import Answer, LoadedRun, RunRecipe
    from semalign_pl.types import Example, Json


def run(args: Sequence[str]) -> int:
    """Run ``semalign translate``.

    Args:
        args: Name of the command, the run, then flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign translate",
        usage="semalign translate RUN --text TEXT\n"
        "       semalign translate RUN --file FILE [--out OUT.jsonl] [--columns FIELD=COLUMN,…] [--corpus NAME]",
        description="Complete prompts with a finished run, as semalign predict does: greedily, with the task, the chat "
        "template and the limits of its recipe. The task can be any with a prompt, not only translation.",
        epilog="Without --out, each answer is one line of stdout. A killed command leaves OUT.jsonl.unfinished, and "
        "the same command goes on from there.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run, the trainer.default_root_dir of its fit")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--text", help="a single text")
    given.add_argument(
        "--file", help="texts: .txt with one per line, .jsonl, .csv, .xlsx or any corpus that fit reads; - for stdin"
    )
    parser.add_argument("--out", type=Path, help="JSON lines to write: id, source, prediction, finished, cut")
    parser.add_argument("--columns", help="columns of the file, if they differ from the recipe's: field=column,…")
    parser.add_argument(
        "--corpus", help="corpus of the recipe whose task is used, if it has several (default: the first of test)"
    )
    with one_line(args) as status:
        options = parser.parse_args(list(args[1:]))
        if options.out is not None and options.out.suffix != ".jsonl":
            parser.error(f"--out: {options.out}: JSON lines are written; give a name that ends in .jsonl")
        if options.text is not None and options.out is not None:
            parser.error("--out: is for --file; the answer to --text is printed")
        if options.text is not None and options.columns is not None:
            parser.error("--columns: is for --file; a text has no columns")
        if options.text is not None and not options.text.strip():
            parser.error("--text: is blank; give some text")
        quieten()
        translate(FinishedRun.of(options.run), options.text, options.file, options.out, options.columns, options.corpus)
    return status.code


def translate(
    run: FinishedRun,
    text: str | None,
    file: str | None,
    out: Path | None,
    columns: str | None = None,
    corpus: str | None = None,
) -> None:
    """Answer a text or the rows of a file.

    Args:
        run: Finished run.
        text: Text to answer; ``None`` to read ``file``.
        file: Corpus, or ``-`` for stdin.
        out: File of JSON lines to write; ``None`` to print.
        columns: Columns of the file, ``field=column,…``.
        corpus: Corpus of the recipe whose task is used.
    """
    from semalign_pl.inference.inputs import STDIN, Inputs
    from semalign_pl.inference.loaded_run import RunRecipe

    recipe = RunRecipe.of(run, corpus)
    inputs = Inputs(recipe, _parse_columns(columns))
    if text is not None:
        example = inputs.example(text, "text")
        loaded = recipe.load()
        (answer,) = loaded.answer([example.policy_prompt])
        _set_stdout_to_utf8()
        print(visible(answer.text))
        _report(loaded, int(answer.cut), int(not answer.finished))
        return
    assert file is not None, "the parser requires one of the two"
    if out is None:
        _print_answers(inputs, file)
    elif file == STDIN:
        raise ValueError("--out: stdin cannot be read again after a kill; redirect stdout instead, or give --file")
    else:
        _write_answers(inputs, file, out)


def _parse_columns(given: str | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in (given or "").split(",") if pair.strip()]
    if wrong := next((pair for pair in pairs if not pair[0].strip() or not pair[2].strip()), None):
        raise ValueError(
            f"--columns: {''.join(wrong)!r} names no field and column; write field=column, e.g. zh=chinese"
        )
    return {field.strip(): column.strip() for field, _, column in pairs}


def _set_stdout_to_utf8() -> None:
    """Set stdout to UTF-8, the encoding of stdin, unless it is a terminal, which has an encoding of its own."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", errors=sys.stdout.errors)


def _print_answers(inputs: Inputs[RunRecipe], file: str) -> None:
    """Print an answer per line; a blank line of a text file gives a blank line, so that lines belong together."""
    from semalign_pl.inference.inputs import is_lines
    from semalign_pl.messages.progress import Progress

    examples = list(inputs.read(file))
    lines, loaded = is_lines(file), inputs.recipe.load()
    cut = cut_off = line = 0
    _set_stdout_to_utf8()
    with Progress(len(examples)) as progress:
        for batch, answers in _answer(loaded, iter(examples)):
            for example, answer in zip(batch, answers, strict=True):
                number = int(example.id.rpartition(":")[2]) if lines else line + 1
                print("\n" * (number - line - 1) + visible(answer.text.replace("\n", " ")))
                line = number
            sys.stdout.flush()
            cut += sum(answer.cut for answer in answers)
            cut_off += sum(not answer.finished for answer in answers)
            progress.add(len(batch))
    _report(loaded, cut, cut_off)


def _write_answers(inputs: Inputs[RunRecipe], file: str, out: Path) -> None:
    """Write answers as JSON lines, and go on with those of a killed process."""
    from semalign_pl.inference.grounds import examine
    from semalign_pl.inference.resumable import ResumableLines
    from semalign_pl.messages.progress import Progress

    rows, grounds = examine(inputs, file)
    with ResumableLines(out, grounds) as lines:
        if lines.done:
            print(visible(f"{lines.unfinished}: going on after row {lines.done} of {rows}"), file=sys.stderr)
        loaded = inputs.recipe.load()
        with Progress(rows, lines.done) as progress:
            for batch, answers in _answer(loaded, itertools.islice(inputs.read(file), lines.done, None)):
                lines.write(_row(example, answer) for example, answer in zip(batch, answers, strict=True))
                progress.add(len(batch))
        lines.finish()
    print(visible(f"written: {out} ({rows} rows)"), file=sys.stderr)
    cut = cut_off = 0
    with out.open(encoding="utf-8") as file_written:  # those of an earlier process count too
        for row in map(json.loads, file_written):
            cut += row.get("cut", False)  # a row of an earlier version has no such key
            cut_off += not row["finished"]
    _report(loaded, cut, cut_off)


def _answer(loaded: LoadedRun, examples: Iterator[Example]) -> Iterator[tuple[list[Example], list[Answer]]]:
    """Yield batches of examples with their answers, of the size of a test's batches."""
    while batch := list(itertools.islice(examples, loaded.recipe.data.eval_batch_size)):
        yield batch, loaded.answer([example.policy_prompt for example in batch])


def _row(example: Example, answer: Answer) -> dict[str, Json]:
    return {
        "id": example.id,
        "source": example.source,
        "prediction": answer.text,
        "finished": answer.finished,
        "cut": answer.cut,
    }


def _report(loaded: LoadedRun, cut: int, cut_off: int) -> None:
    """Print how many texts and answers were cut, if any."""
    module = loaded.recipe.module
    if cut:
        print(f"{cut} texts were longer than max_prompt_tokens {module.max_prompt_tokens}: cut", file=sys.stderr)
    if cut_off:
        print(f"{cut_off} answers were cut off at max_new_tokens {module.max_new_tokens}", file=sys.stderr)

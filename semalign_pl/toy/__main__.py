"""``python -m semalign_pl.toy``: ``build``, ``write DIR`` and ``judge DIR``."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from dataclasses import fields
from pathlib import Path

from semalign_pl.messages.errors import one_line
from semalign_pl.messages.terminal import prepare_process, visible


def main(args: list[str] | None = None) -> int:
    """Run one of the commands.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m semalign_pl.toy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="write a world folder: models and corpora")
    write.add_argument("folder", type=Path)
    write.add_argument("--seed", type=int, default=0)
    write.add_argument("--language", default="bo", help="language besides Chinese: bo, th, or a .yaml file of your own")
    write.add_argument("--models", type=Path, help="folder with base/ and encoder/ to copy; default: the shipped ones")
    write.add_argument("--pairs", type=int, help="number of training pairs (5000)")
    write.add_argument("--source-only", type=int, help="number of source sentences without a reference (2000)")
    write.add_argument("--target-only", type=int, help="number of sentences in that language without a source (0)")
    write.add_argument("--style", type=float, help="probability that a training reference has the one narrow style")
    write.add_argument("--noise", type=float, help="probability that a training reference is wrong (0)")
    write.add_argument("--breadth", type=float, help="share of the roles that training pairs are about (1)")
    judge = commands.add_parser("judge", help="serve a judge of Tibetan on this machine, until Ctrl-C")
    judge.add_argument("world", type=Path, help="folder that write wrote, with the encoder that the judge reads with")
    judge.add_argument("--port", type=int, default=8765)
    build = commands.add_parser("build", help="train the weights that the package ships")
    build.add_argument("--out", type=Path)
    build.add_argument("--styles", action="store_true", help="models for worlds with styles; needs --out")
    build.add_argument("--models", nargs="+", choices=["encoder", "base"], default=["encoder", "base"])
    for name in ("base-steps", "encoder-steps", "base-batch", "encoder-batch", "seed", "threads"):
        build.add_argument(f"--{name}", type=int)
    given = {key: value for key, value in vars(parser.parse_args(args)).items() if value is not None}
    with one_line() as status:
        command = given.pop("command")
        if command == "judge":
            from semalign_pl.toy.judge import Reader, serving

            reader = Reader(given["world"] / "encoder")
            with serving(reader, given["port"]), contextlib.suppress(KeyboardInterrupt):
                url, accuracy = f"http://127.0.0.1:{given['port']}/v1", reader.accuracy(300)
                print(f"{url} answers {accuracy:.0%} of 300 new questions right", flush=True)
                threading.Event().wait()
        elif command == "write":
            from semalign_pl.toy.conditions import Conditions
            from semalign_pl.toy.write import write as write_world

            chosen = {field.name: given.pop(field.name) for field in fields(Conditions) if field.name in given}
            write_world(**given, conditions=Conditions(**chosen))
            print(visible(f"wrote {given['folder']}"))
        else:
            from semalign_pl.toy.build import build as build_weights

            build_weights(**{**given, "models": tuple(given["models"])})
    return status.code


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())

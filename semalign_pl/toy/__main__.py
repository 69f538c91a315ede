"""``python -m semalign_pl.toy build`` and ``python -m semalign_pl.toy write DIR``."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(args: list[str] | None = None) -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(prog="python -m semalign_pl.toy", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="write a world folder: models and corpora")
    write.add_argument("folder", type=Path)
    write.add_argument("--seed", type=int, default=0)
    write.add_argument("--language", default="bo", help="beside Chinese: bo, th, or a .yaml of your own")
    build = commands.add_parser("build", help="train the weights that the package ships")
    build.add_argument("--out", type=Path)
    build.add_argument("--parts", nargs="+", choices=["encoder", "base"], default=["encoder", "base"])
    for name in ("base-steps", "encoder-steps", "base-batch", "encoder-batch", "seed", "threads"):
        build.add_argument(f"--{name}", type=int)
    given = {key: value for key, value in vars(parser.parse_args(args)).items() if value is not None}
    if given.pop("command") == "write":
        from semalign_pl.toy.write import write as write_world

        write_world(**given)
        print(f"wrote {given['folder']}")
    else:
        from semalign_pl.toy.build import build as build_weights

        build_weights(**{**given, "parts": tuple(given["parts"])})


if __name__ == "__main__":
    main()

"""``semalign demo``: a local page that compares base, cold start and scaled adapter of a finished run."""

from __future__ import annotations

from collections.abc import Sequence

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.quiet import quieten
from semalign_pl.messages.terminal import visible
from semalign_pl.run.finished import FinishedRun

LOCAL, PORT = "127.0.0.1", 7860


def run(args: Sequence[str]) -> int:
    """Run ``semalign demo``.

    Args:
        args: Name of the command, the run, then flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign demo",
        usage="semalign demo RUN [--port PORT] [--host ADDRESS] [--corpus NAME]",
        description="Serve a page for one text at a time: the answers of the base, of the adapter that the run started "
        "from, and of its own adapter at any scale, each with a check of its language and its similarity to the source "
        "by the recipe's encoder. The page loads nothing from elsewhere, and nothing leaves this machine.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run, the trainer.default_root_dir of its fit")
    parser.add_argument("--port", type=int, default=PORT, help="port; 0 for any free one (default: %(default)s)")
    parser.add_argument(
        "--host",
        default=LOCAL,
        help="address to listen on; with any but the default, others can use the page: there is no password "
        "(default: %(default)s)",
    )
    parser.add_argument("--corpus", help="corpus of the recipe whose task is used (default: the first of test)")
    with one_line(args) as status:
        options = parser.parse_args(list(args[1:]))
        if not 0 <= options.port < 2**16:
            parser.error(f"--port: {options.port} is no port; give 0 to 65535")
        run = FinishedRun.of(options.run)
        quieten()
        from semalign_pl.inference.server import listen

        # The port is taken first, since loading takes minutes.
        with listen(options.host, options.port) as server:
            from semalign_pl.inference.loaded_run import RunRecipe
            from semalign_pl.inference.sides import Sides

            server.sides = Sides(RunRecipe.of(run, options.corpus))
            if server.sides.missing_start:
                print(visible(f"the cold start is left out: {server.sides.missing_start}"))
            print(visible(f"{server.address}  (Ctrl-C ends it)"), flush=True)
            server.serve_forever()
    return status.code

"""Run the paper's study on the miniature world, and write every row of its tables beside the paper's numbers.

python benchmarks/study.py --seeds 5   # writes results/study.json; finished steps are not redone
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import harness


def main() -> None:
    """Run the steps that are not done yet, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--config", type=Path, default=Path("configs/study/quickstart"))
    parser.add_argument(
        "--world",
        type=lambda text: Path(text) if text else None,
        default=Path("runs/quickstart/world"),
        help="its judge is served; empty: none",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    options = parser.parse_args()
    from semalign_pl.report import load_results
    from semalign_pl.report.command import show
    from semalign_pl.report.paper_tables import check_published, compare_published
    from semalign_pl.report.paper_tables_text import markdown_tables, render_tables
    from semalign_pl.report.results import parse
    from semalign_pl.study.command import run_study
    from semalign_pl.toy.judge import Reader, serving

    reader = Reader(options.world / "encoder") if options.world else None
    accuracy = reader and reader.accuracy(1000)
    with serving(reader) if reader else nullcontext():
        run_study(options.config, options.out, options.seeds, options.jobs)
    show(options.out)
    study = load_results(options.out / "results.json")
    parsed, published = parse(study), check_published(study["published"], "results.json: published")
    print(markdown_tables(study, parsed))
    run = study["run"]
    assert isinstance(run, dict)
    content = {
        "paper": published["source"],
        "tables": compare_published(published, parsed),
        "said": [sentence for table in render_tables(study, parsed) for sentence in table["sentences"]],
        "judge": study.get("judge"),
        "judge_accuracy": accuracy,
        "seeds": options.seeds,
        "seconds": run["seconds"],
        "command": f"python benchmarks/study.py --seeds {options.seeds}",
        "machine": harness.machine(),
    }
    path = harness.RESULTS / "study.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()

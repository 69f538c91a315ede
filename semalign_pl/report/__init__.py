"""Tables, pictures and one HTML page from the results of a study.

Matplotlib, rich and jinja2 are imported by the functions that use them, so importing this package is fast.
"""

from .curves import reward_curves
from .html import write_report
from .picture import quality_against_tax
from .results import load_results
from .table import comparison, markdown
from .verdict import verdict, verdicts, with_sentences

__all__ = [
    "comparison",
    "load_results",
    "markdown",
    "quality_against_tax",
    "reward_curves",
    "verdict",
    "verdicts",
    "with_sentences",
    "write_report",
]

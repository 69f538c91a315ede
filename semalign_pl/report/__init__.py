"""Tables, pictures and one HTML page from the files a study left behind.

Matplotlib, rich and jinja2 are imported by the functions that draw with them, so importing this package costs nothing.
"""

from .curves import reward_curves
from .html import write_report
from .picture import quality_against_tax
from .results import load_results
from .sentence import verdict
from .table import comparison, markdown

__all__ = [
    "comparison",
    "load_results",
    "markdown",
    "quality_against_tax",
    "reward_curves",
    "verdict",
    "write_report",
]

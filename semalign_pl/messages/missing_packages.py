"""Packages that a setting needs and that are not installed, as one line with the command that installs them."""

from __future__ import annotations

import re

_PIP = {"yaml": "pyyaml", "sklearn": "scikit-learn", "PIL": "pillow", "comet_ml": "comet-ml", "google": "protobuf"}
"""Names of packages that are not their module's."""


def explain_missing(text: str) -> str | None:
    """Return what to install, out of an error's message.

    Args:
        text: Of a ``ModuleNotFoundError``, of Lightning's requirement, or of jsonargparse's report that holds one.

    Returns:
        Who needs the package and how to install it; ``None`` if the text is about something else.
    """
    required = re.findall(r"Requirement '([\w.-]+)[^']*' not met", text)
    unnamed = re.findall(r"No module named '([\w.]+)'", text)
    if not required and not unnamed:
        return None
    # Where one of several will do, Lightning lists the alternatives first.
    package = required[-1] if required else unnamed[0].split(".")[0]
    needing = re.findall(r"Problem with given class_path '([^']+)'", text)
    who = f"{needing[0].rpartition('.')[2]}: " if needing else ""
    package = _PIP.get(package, package)
    return f"{who}{package} is not installed; pip install {package}, or leave out the setting that needs it"

"""One line about a package that a setting needs and that is not installed, with the command that installs it."""

from __future__ import annotations

import re

_PIP = {"yaml": "pyyaml", "sklearn": "scikit-learn", "PIL": "pillow", "comet_ml": "comet-ml", "google": "protobuf"}
"""Names of packages on PyPI that differ from the names of their modules."""


def explain_missing(text: str) -> str | None:
    """One line with the package to install, from an error's message.

    Args:
        text: Message of a ``ModuleNotFoundError``, of Lightning about a requirement that is not met, or of
            jsonargparse's report that contains one of them.

    Returns:
        Name of the class that needs the package, if the text has it, and the command that installs the package;
        ``None`` if the text is about something else.
    """
    required = re.findall(r"Requirement '([\w.-]+)[^']*' not met", text)
    unnamed = re.findall(r"No module named '([\w.]+)'", text)
    if not required and not unnamed:
        return None
    # If one of several packages is enough, Lightning lists the alternatives first.
    package = required[-1] if required else unnamed[0].split(".")[0]
    needing = re.findall(r"Problem with given class_path '([^']+)'", text)
    who = f"{needing[0].rpartition('.')[2]}: " if needing else ""
    package = _PIP.get(package, package)
    return f"{who}{package} is not installed; pip install {package}, or leave out the setting that needs it"

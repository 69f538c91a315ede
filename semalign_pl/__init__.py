"""semalign-pl: teach a language model a low-resource language without making it worse at everything else.

The classes that a program needs are importable from here; each is loaded when it is first used, because torch and
Lightning take seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semalign_pl.callbacks import Evaluation as Evaluation
    from semalign_pl.callbacks import Export as Export
    from semalign_pl.data import CorpusDataModule as CorpusDataModule
    from semalign_pl.data import Task as Task
    from semalign_pl.data import Translation as Translation
    from semalign_pl.modules import DistillModule as DistillModule
    from semalign_pl.modules import EmbedderModule as EmbedderModule
    from semalign_pl.modules import GRPOModule as GRPOModule
    from semalign_pl.modules import SFTModule as SFTModule
    from semalign_pl.policy.policy import Policy as Policy
    from semalign_pl.probes import Probe as Probe
    from semalign_pl.rewards import Reward as Reward

__version__ = "0.1.0"

_MODULES = {
    "callbacks": ("Evaluation", "Export"),
    "data": ("CorpusDataModule", "Task", "Translation"),
    "modules": ("DistillModule", "EmbedderModule", "GRPOModule", "SFTModule"),
    "policy.policy": ("Policy",),
    "probes": ("Probe",),
    "rewards": ("Reward",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public class when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULE_OF]

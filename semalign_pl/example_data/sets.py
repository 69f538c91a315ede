"""All data sets by name."""

from semalign_pl.example_data.cmrc2018 import CMRC2018
from semalign_pl.example_data.data_set import DataSet
from semalign_pl.example_data.mitra import MITRA
from semalign_pl.example_data.sample import SAMPLE
from semalign_pl.example_data.sib200 import SIB200

SETS: dict[str, DataSet] = {one.name: one for one in (SAMPLE, SIB200, CMRC2018, MITRA)}
"""Data sets by name, in the order in which they are listed; ``files/example_folders.py`` has the same names."""

"""Options of SampleTable that are refused; what it writes is tested where runs resume (test_resume_history.py)."""

import pytest

from semalign_pl.callbacks import SampleTable


def test_a_number_of_batches_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"SampleTable.every_n_steps: 0 is not a positive number of batches"):
        SampleTable(every_n_steps=0)

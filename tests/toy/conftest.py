from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from semalign_pl.toy import tokenizer


@pytest.fixture(scope="session")
def trained() -> PreTrainedTokenizerFast:
    return tokenizer.train(seed=0)

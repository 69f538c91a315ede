"""What the base model is asked in words; its first question is the reading comprehension probe's, to the letter."""

from semalign_pl.probes.reading_comprehension import PROMPT

__all__ = ["NEXT_QUESTION", "PROMPT", "WRITE_TIBETAN"]

NEXT_QUESTION = "问题：{question}"
WRITE_TIBETAN = "写一句藏文。"

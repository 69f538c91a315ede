"""Prompts of the base model's training data; ``PROMPT`` is that of the reading comprehension probe, word for word."""

PROMPT = "阅读短文，回答问题。\n短文：{context}\n问题：{question}"
NEXT_QUESTION = "问题：{question}"
WRITE_TIBETAN = "写一句藏文。"
WRITE_CHINESE = "写一句中文。"
COPY = "抄写：{text}"
COPY_CHINESE = "把下面的中文抄写成中文：{text}"
COPY_TIBETAN = "把下面的藏文抄写成藏文：{text}"

"""Languages that the neural metrics were trained on, by ISO 639-1 code (639-3 where there is none)."""

from __future__ import annotations

XLM_R = frozenset(
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fil fr fy ga gd gl gu ha he hi hr hu hy "
    "id is it ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru sa sd "
    "si sk sl so sq sr su sv sw ta te th tr ug uk ur uz vi xh yi zh zh-Hans zh-Hant".split()
)
"""Languages of XLM-R, as the README of unbabel-comet 2.2.7 lists them: no Tibetan, Dzongkha, Zhuang, Yi, and no
Mongolian in the traditional script."""

METRICX = frozenset(
    "af am ar az be bg bn ca ceb co cs cy da de el en eo es et eu fa fi fil fr fy ga gd gl gu ha haw he hi hmn ht "
    "hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt my ne nl no ny pa pl ps "
    "pt ro ru sd si sk sl sm sn so sq sr st su sv sw ta te tg th tr uk ur uz vi xh yi yo zh zh-Hans zh-Hant zu".split()
)
"""Languages of mC4, which mT5 was trained on, as the README of google-research/multilingual-t5 lists them: no Uyghur
either."""

"""Find the format of a chat template by trying it once, so that the rest of the package need not know templates."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from semalign_pl.chat.bounded_template import TemplateLimitError
from semalign_pl.chat.control_tokens import control_tokens, encode_texts, token_id
from semalign_pl.chat.format import Chat
from semalign_pl.chat.given_template import OPTION
from semalign_pl.messages.error_text import single_line
from semalign_pl.types import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE = datetime.date(2024, 7, 26)
"""Date that templates get as today: the default of Llama 3's own template."""

_USER, _ANSWER = Turn("user", "SEMALIGNUSERPROBE"), Turn("assistant", "SEMALIGNANSWERPROBE")
_TALKS: dict[str, tuple[Turn, ...]] = {
    "user": (_USER,),
    "assistant": (_USER, _ANSWER),
    "system": (Turn("system", "SEMALIGNSYSTEMPROBE"), _USER),
    "tool": (_USER, _ANSWER, Turn("tool", "SEMALIGNTOOLPROBE")),
}
_ANSWERS = ("x", "ཀ", "7", "(", " x", "X y")


def find_chat(tokenizer: PreTrainedTokenizerBase, given: bool = False) -> Chat:
    """Find the format of a tokenizer's chat template.

    Args:
        tokenizer: Tokenizer of the base.
        given: True if the template is the recipe's own, which must also have a generation prompt.

    Returns:
        Format of prompts and answers, with notes for the user.

    Raises:
        ValueError: If the template does not render a user's message, or a given one has no generation prompt.
    """
    if tokenizer.chat_template is None:
        found = Chat(tokenizer, start=text_start(tokenizer), control=control_tokens(tokenizer, ""))
        return _with_context(found, "\n")
    where = f"model.init_args.base: the chat template of {tokenizer.name_or_path or 'the tokenizer'}"
    remedy = f"; give a base whose template renders a user's message, mend its chat_template.jinja, or set {OPTION}"
    if given:
        where, remedy = f"{OPTION}: the template", "; mend it, so that it writes a user's message"
    try:
        template, notes = _without_clock(tokenizer.get_chat_template())
        found = Chat(tokenizer, template, notes=notes, control=control_tokens(tokenizer, ""))
        found = _with_typed_roles(found)
        prompt, bare = found.render(_TALKS["user"]), found.render(_TALKS["user"], generation=False)
    except Exception as error:
        raise ValueError(f"{where} raises {single_line(error, 200)!r}{remedy}") from error
    if not _renders(found, _TALKS["user"]):
        raise ValueError(f"{where} leaves the user's message out{remedy}")
    talks = [(*_TALKS["assistant"], _USER), *_TALKS.values()]
    rendered = "".join(_render_or_none(found, turns) or "" for turns in talks)
    found = _with_answer(replace(found, control=control_tokens(tokenizer, rendered)), prompt, bare)
    if given and found.opening:
        missing = f"{{% if add_generation_prompt %}}{{{{ {found.opening!r} }}}}{{% endif %}}"
        raise ValueError(f"{where} has no generation prompt, after which an answer begins; end it in {missing}")
    return _check(found)


def _with_typed_roles(chat: Chat) -> Chat:
    """Find the roles whose content the template renders only as typed parts, not as a plain string."""
    for role, turns in _TALKS.items():
        typed = replace(chat, typed=chat.typed | {role})
        if not _renders(chat, turns) and _renders(typed, turns):
            chat = typed
    return chat


def _with_answer(chat: Chat, prompt: str, bare: str) -> Chat:
    """Find the text that the template writes before and after an answer."""
    notes, opening, lead = list(chat.notes), "", ""
    whole = _render_or_none(chat, _TALKS["assistant"])
    if whole is None or _ANSWER.content not in whole:
        notes.append("the chat template does not render an answer, so completions end in the tokenizer's eos_token")
        return _with_context(replace(chat, notes=tuple(notes)), prompt.rpartition(_USER.content)[2])
    before, _, rest = whole.rpartition(_ANSWER.content)
    if before.startswith(prompt):
        lead = before[len(prompt) :]
        if lead.strip() and prompt == bare:  # no generation prompt: the header has to be added
            lead = lead[len(lead.rstrip(" ")) :]
            opening = before[len(prompt) : len(before) - len(lead)]
            notes.append(
                f"the chat template has no generation prompt, so prompts end in its answer's header {opening!r}"
            )
    else:
        notes.append(
            f"the chat template's generation prompt ends in {prompt[-40:]!r}, but its rendering of an answer begins "
            f"after {before[-40:]!r}: prompt and completion are not a prefix of that rendering"
        )
    found = chat.control.pattern.search(rest) if chat.control.contents else None
    header = prompt[len(bare) :] if prompt.startswith(bare) else ""
    end = found[0] if found and found[0] not in header else None
    trail = rest[: found.start()] if found and end else ""
    if end is None and rest.strip():
        notes.append(
            f"the chat template writes {rest[:40]!r} after an answer, which is no token of its own: completions end "
            "in the tokenizer's eos_token"
        )
    chat = replace(chat, opening=opening, lead=lead, trail=trail, end=end, notes=tuple(notes))
    return _with_context(chat, prompt.rpartition(_USER.content)[2] + opening)


def _with_context(chat: Chat, context: str) -> Chat:
    """Set `context` if the tokens of answers depend on the end of the prompt; set `shown` from a decoded answer."""
    joined = replace(chat, context=context)
    if chat.encode_answers(_ANSWERS) != joined.encode_answers(_ANSWERS):
        chat = joined
    ids = chat.encode_answers([_ANSWER.content])
    before, found, after = chat.tokenizer.batch_decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )[0].partition(_ANSWER.content)
    return replace(chat, shown=(before, after) if found else ("", ""))


def _check(chat: Chat) -> Chat:
    """Add a note if the tokens of prompt and completion are not a prefix of those of the template's own rendering."""
    whole = _render_or_none(chat, _TALKS["assistant"])
    if whole is None or _ANSWER.content not in whole or any("not a prefix" in note for note in chat.notes):
        return chat
    ids = [*chat.encode(_USER.content), *chat.encode_answers([_ANSWER.content])[0]]
    if chat.end is not None:
        ids.append(token_id(chat.tokenizer, chat.end))
    if encode_texts(chat.tokenizer, [whole])[0][: len(ids)] == ids:
        return chat
    note = "the tokens of prompt and completion are not a prefix of those of the chat template's own rendering"
    return replace(chat, notes=(*chat.notes, note))


def _without_clock(template: str) -> tuple[str, tuple[str, ...]]:
    """Fix the template's date to `DATE`, or token ids, and so caches and runs, would depend on the day; add a note."""
    if "strftime_now" not in template:
        return template, ()
    directives = {"%-d": str(DATE.day), "%-m": str(DATE.month), "%H": "00", "%M": "00", "%S": "00"}
    directives |= {d: DATE.strftime(d) for d in ("%d", "%m", "%Y", "%y", "%B", "%b", "%A", "%a", "%j")}
    replaced = "".join(f"|replace('{directive}', '{value}')" for directive, value in directives.items())
    macro = f"{{%- macro strftime_now(pattern) -%}}{{{{ pattern{replaced} }}}}{{%- endmacro +%}}"
    note = f"the chat template writes today's date; it is always told {DATE:%d %b %Y}, so that runs can be repeated"
    return macro + template, (note,)


def text_start(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Token ids that the tokenizer adds before a text (BOS); those after it (EOS, SEP) would end a prompt.

    Args:
        tokenizer: Tokenizer of the base.
    """
    alone, ids = encode_texts(tokenizer, ["x"])[0], tokenizer("x")["input_ids"]
    places = (n for n in range(len(ids) - len(alone) + 1) if ids[n : n + len(alone)] == alone)
    return tuple(ids[: next(places, 0)])


def _renders(chat: Chat, turns: Sequence[Turn]) -> bool:
    """Return true if all messages are in the rendering, as text and not as the source of a list."""
    text = _render_or_none(chat, turns)
    return text is not None and "'type': 'text'" not in text and all(turn.content in text for turn in turns)


def _render_or_none(chat: Chat, turns: Sequence[Turn]) -> str | None:
    try:
        return chat.render(turns, generation=False)
    except TemplateLimitError:
        raise
    except Exception:  # a template may raise anything
        return None

"""Load the prompt encoder of a policy, with its new tokens and without any weights."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from semalign_pl.chat.control_tokens import token_id
from semalign_pl.chat.find_format import find_chat
from semalign_pl.chat.given_template import OPTION, read_template
from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.policy.adapter_folder import read_config
from semalign_pl.policy.causal_lm import check_folder, explain_load_errors, load_tokenizer
from semalign_pl.policy.settings import VocabularySettings
from semalign_pl.policy.vocabulary import add_tokens, find_tokens, saved_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)
_OPTION = "model.init_args.base"


def load_prompt_encoder(
    base: str,
    adapter: str | None = None,
    vocabulary: VocabularySettings | None = None,
    chat_template: str | None = None,
) -> PromptEncoder:
    """Load the encoder that `load_policy` gives to a policy with the same arguments.

    Args:
        base: Hub id or folder of a causal LM; its weights are not read.
        adapter: PEFT folder of a saved adapter, whose new tokens are added; ``None`` for a new adapter.
        vocabulary: Settings of tokens to add for a new adapter; a saved adapter has its own.
        chat_template: Jinja file or text of a chat template, for a new adapter; a saved adapter has its own. ``None``
            for the base's.

    Returns:
        Encoder whose first end token is the chat template's, or else the tokenizer's.

    Raises:
        ValueError: If the tokenizer cannot be loaded, ``vocabulary`` or ``chat_template`` contradicts ``adapter``, no
            token ends a completion, or the chat template does not render a user's message.
    """
    check_folder(_OPTION, base)
    if adapter is not None:
        read_config(adapter)  # refuses a folder that is no adapter
    tokenizer = load_tokenizer(_OPTION, base)
    if chat_template is not None:
        tokenizer.chat_template = read_template(chat_template)
    saved = None if adapter is None else saved_tokenizer(adapter)
    if saved is not None and saved.chat_template != tokenizer.chat_template:
        if chat_template is not None:
            raise ValueError(
                f"{OPTION}: {adapter} was trained with another chat template; leave chat_template out for the "
                f"adapter's, or `adapter` to start afresh; if this is the adapter's, write it to "
                f"{adapter}/chat_template.jinja"
            )
        if saved.chat_template:
            log.info("%s: prompts have the chat template of this adapter, which is not that of %s", adapter, base)
            tokenizer.chat_template = saved.chat_template
    if adapter is not None:
        added = {} if saved is None else saved.added_tokens_decoder
        tokens = [token for index, token in sorted(added.items()) if index >= len(tokenizer)]
        if vocabulary is not None and not tokens:
            raise ValueError(
                f"model.init_args.vocabulary: {adapter} was trained without new tokens and cannot be given any; leave "
                "`vocabulary` out, or `adapter` to start afresh"
            )
    else:
        tokens = [] if vocabulary is None else find_tokens(vocabulary, tokenizer)
    new_tokens = add_tokens(tokenizer, tokens)
    return PromptEncoder(tokenizer, _find_eos_ids(base, tokenizer, chat_template is not None), new_tokens)


def _find_eos_ids(base: str, tokenizer: PreTrainedTokenizerBase, given: bool) -> tuple[int, ...]:
    """Token ids that end a completion; the first, which is trained, is the chat template's or else the tokenizer's.

    Args:
        base: Hub id or folder of the base.
        tokenizer: Tokenizer of the policy.
        given: True if the chat template is the recipe's.

    Raises:
        ValueError: If there is none, or the chat template cannot be used.
    """
    from lightning.pytorch.utilities import rank_zero_info

    chat = find_chat(tokenizer, given)
    stops = [*_token_ids(tokenizer.eos_token_id), *_configured_eos_ids(base)]
    own = [] if chat.end is None else [token_id(tokenizer, chat.end)]
    ids = tuple(dict.fromkeys(own + stops))
    if not ids:
        raise ValueError(
            f"{_OPTION}: neither tokenizer nor generation config name an EOS token; set `eos_token` in "
            "tokenizer_config.json, or completions would never end"
        )
    tokens = [f"{tokenizer.convert_ids_to_tokens(i)} ({i})" for i in ids]
    source = "the tokenizer's eos_token" if chat.end is None else "the token that the chat template writes there"
    also = f"; generation also stops at {', '.join(tokens[1:])}" if tokens[1:] else ""
    rank_zero_info("%s: completions end in %s, %s%s", tokenizer.name_or_path, tokens[0], source, also)
    for note in chat.notes:
        log.warning("%s: %s", tokenizer.name_or_path, note)
    if ids[0] not in stops:
        log.warning(
            "%s: the chat template ends an answer with %s, which neither eos_token nor generation_config.json name as "
            "a stop token: here it is one; to serve the adapter, add it to eos_token_id in generation_config.json",
            tokenizer.name_or_path,
            tokens[0],
        )
    return ids


def _configured_eos_ids(base: str) -> list[int]:
    """Stop tokens of generation_config.json, or else of config.json, as ``generate`` of transformers takes them."""
    from transformers import GenerationConfig

    with explain_load_errors(_OPTION, base):
        try:
            config = GenerationConfig.from_pretrained(base, trust_remote_code=False)
        except OSError:  # the file is optional
            config = GenerationConfig.from_pretrained(
                base, config_file_name="config.json", _from_model_config=True, trust_remote_code=False
            )
    return _token_ids(config.eos_token_id)


def _token_ids(value: object) -> list[int]:
    """Token ids of a config's value, which may be one id, several, or none."""
    return [i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int)]

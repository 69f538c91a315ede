"""Frozen sentence encoder: from texts to unit vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semalign_pl.files.digest import digest
from semalign_pl.files.documents import read_json
from semalign_pl.files.example_folders import remedy
from semalign_pl.finite import check_finite

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


SPECIAL_TOKENS = 8
"""Upper bound on the number of tokens that an encoder adds to a text (two for BERT, a prefix for SentencePiece)."""


class SentenceEncoder:
    """SentenceTransformer that only encodes, in eval mode and without gradients.

    It is not an ``nn.Module``, so an object that has one does not register, move or save its weights. Move it with
    ``to``.

    Attributes:
        name: Folder or Hugging Face hub id, as given.
        batch_size: Number of texts encoded at once.
        truncated: Number of texts so far that exceeded the encoder's limit, and lost their end.
        half: True if the weights are bfloat16; embeddings are always float32.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        half: bool = False,
    ) -> None:
        """Load the encoder.

        Args:
            name_or_path: Folder of a saved SentenceTransformer, or Hugging Face hub id.
            device: Device to encode on; ``None`` is the CPU until ``to`` is called, and is never guessed.
            batch_size: Number of texts encoded at once.
            half: Flag to keep and run the weights in bfloat16: half the memory, and faster on a GPU.

        Raises:
            ValueError: If there is no SentenceTransformer of that name, or its weights are not finite.
        """
        self.name = str(name_or_path)
        self.batch_size = batch_size
        self.truncated = 0
        self.half = half
        self._model = _load(self.name, device or "cpu").requires_grad_(False).eval()
        self._weights_digest: str | None = None
        if half:
            self._weights_digest = self.digest  # of the weights before they are rounded, as in other processes
            self._model.to(torch.bfloat16)

    @property
    def dimensions(self) -> int:
        """Number of dimensions of an embedding."""
        dimensions = self._model.get_embedding_dimension()
        assert dimensions is not None
        return dimensions

    @property
    def device(self) -> torch.device:
        """Device of the weights and of the embeddings."""
        return self._model.device

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self._model.parameters())

    @property
    def digest(self) -> str:
        """First 8 hexadecimal digits of the SHA-256 of the weights as loaded, the same in every dtype of this run."""
        if self._weights_digest is None:
            whole = hashlib.sha256()
            for name, weight in self._model.state_dict().items():
                whole.update(name.encode())
                whole.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
            self._weights_digest = whole.hexdigest()[:8]
        return self._weights_digest

    @property
    def signature(self) -> str:
        """Every option that changes an embedding, as ``key:value`` joined by ``|``.

        These are the encoder with a digest of its weights, pooling, dimensions, token limit, dtype, and the version of
        sentence-transformers.
        """
        pooling = [getattr(module, "pooling_mode", None) for module in self._model]
        modes = "+".join(str(mode) for mode in pooling if mode is not None) or "none"
        return (
            f"encoder:{Path(self.name).name}@{self.digest}|pooling:{modes}|dimensions:{self.dimensions}"
            f"|max_tokens:{self._model.max_seq_length}{'|dtype:bfloat16' if self.half else ''}"
            f"|sentence-transformers:{version('sentence-transformers')}"
        )

    @property
    def cache_key(self) -> str:
        """Key of cached embeddings: the signature, and a digest of the tokenizer, the modules and the prompts."""
        model = self._model
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        tokenizer = {"vocab": model.tokenizer.get_vocab()} if backend is None else json.loads(backend.to_str())
        tokenizer |= {"truncation": None, "padding": None}  # those of the last call
        modules = [repr(getattr(module, "get_config_dict", dict)()) for module in model]
        return f"{self.signature}|{digest(tokenizer, modules, model.prompts, model.default_prompt_name)}"

    def to(self, device: str | torch.device) -> SentenceEncoder:
        """Move the weights to a device, and return the encoder itself.

        Args:
            device: Device to encode on.
        """
        self._model.to(device)
        return self

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Embed texts.

        Equal texts are embedded once, and texts of similar length are batched together. The zero vector is the
        embedding of blank text.

        Args:
            texts: Texts to embed.

        Returns:
            ``(texts, dimensions)`` float32, each row of length 1 or 0, on the encoder's device, without gradient.
        """
        places = {text: place for place, text in enumerate(dict.fromkeys(text for text in texts if text.strip()))}
        vectors = torch.zeros(len(places) + 1, self.dimensions, device=self._model.device)
        if places:
            too_long = self.too_long(list(places))
            self.truncated += sum(text in too_long for text in texts)
            # Copied into a new tensor: encode() returns inference tensors, which autograd cannot save.
            vectors[:-1] = self._model.encode(
                list(places), batch_size=self.batch_size, convert_to_tensor=True, show_progress_bar=False
            )
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return vectors[[places.get(text, len(places)) for text in texts]]

    def similarity(self, a: Sequence[str], b: Sequence[str]) -> Tensor:
        """Cosine of each pair of texts; 0 if one of them is blank.

        Args:
            a: First text of each pair.
            b: Second text of each pair.

        Returns:
            ``(pairs,)`` float32 in [-1, 1].

        Raises:
            ValueError: If the numbers of texts differ.
        """
        if len(a) != len(b):
            raise ValueError(f"b: {len(b)} texts to compare with {len(a)}; give one for each")
        vectors = self.encode([*a, *b])
        return (vectors[: len(a)] * vectors[len(a) :]).sum(-1).clamp(-1.0, 1.0)

    def count_unknown_tokens(self, texts: Sequence[str]) -> list[tuple[int, int]] | None:
        """Count the unknown tokens of each text.

        An unknown token hides what the text says from the encoder.

        Args:
            texts: Texts to count.

        Returns:
            Numbers of unknown tokens and of all tokens per text, without special tokens. ``None`` if the tokenizer has
            no unknown token: it then falls back to bytes, which an encoder can learn to read.
        """
        tokenizer = self._model.tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)
        if unknown is None or not texts:
            return None if unknown is None else []
        encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [(ids.count(unknown), len(ids)) for ids in encoded]

    def too_long(self, texts: list[str]) -> set[str]:
        """Texts that exceed the encoder's limit, and lose their end when embedded.

        Args:
            texts: Texts to check.
        """
        limit = self._model.max_seq_length
        if limit is None:
            return set()
        # A tokenizer makes at most one token per byte, plus special tokens: most texts need not be tokenised twice.
        texts = [text for text in texts if len(text.encode()) + SPECIAL_TOKENS > limit]
        if not texts:
            return set()
        token_ids = self._model.tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
        return {text for text, ids in zip(texts, token_ids, strict=True) if len(ids) > limit}


def _load(name: str, device: str | torch.device) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import is_sentence_transformer_model

    from semalign_pl.policy.causal_lm import LOAD_ERRORS, load_reason

    # Checked first: SentenceTransformer would use mean pooling of any other model, and its embeddings mean nothing.
    if not is_sentence_transformer_model(name):
        what = "a folder without modules.json" if Path(name).is_dir() else "neither a folder nor found on the hub"
        raise ValueError(
            f"encoder: {name!r} is not a SentenceTransformer but {what}; "
            "name a folder written by SentenceTransformer.save, or check the hub name and the network"
        )
    try:
        check_activations(name)
        model = SentenceTransformer(name, device=str(device), trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise ValueError(
            f"encoder: cannot load {name!r}: {load_reason(error)} Give a folder written by SentenceTransformer.save, "
            f"or a hub id that this machine can reach{remedy(name)}."
        ) from error
    check_finite(model.state_dict(), f"encoder: {name!r} holds", "its run diverged; name another encoder")
    return model


def check_activations(name: str) -> None:
    """Refuse a layer whose activation is third-party code: sentence-transformers would replace it by Tanh.

    Args:
        name: Folder or hub id of a SentenceTransformer.

    Raises:
        ValueError: If there is such a layer; the message names the file and the activation.
    """
    from sentence_transformers.util import load_file_path

    for module in read_json(Path(load_file_path(name, "modules.json") or ""), "save the encoder again"):
        path = Path(module["path"]) / "config.json"
        if module["type"].endswith(".Dense") and (file := load_file_path(name, path.as_posix())):
            activation = str(read_json(Path(file), "save the encoder again").get("activation_function", "torch."))
            if not activation.startswith("torch."):
                raise ValueError(
                    f"{path} in it names {activation} as activation_function, which is code of others and is never "
                    "run; save the encoder with a function of torch."
                )

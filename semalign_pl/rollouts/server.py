"""Rollouts by vLLM servers, which are given the adapter after each update."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from semalign_pl.engine.logprobs import compute_logprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.pack import pack_rollouts
from semalign_pl.policy.policy import Policy
from semalign_pl.rollouts.adapter_transfer import adapter_name, check_servable, wait_for_adapter, write_adapter
from semalign_pl.rollouts.client import OPTION, ServerClient
from semalign_pl.rollouts.completion_request import CompletionRequest, Sampled
from semalign_pl.rollouts.connection import Connection
from semalign_pl.rollouts.parallel import call_all
from semalign_pl.types import Rollouts

FOLDER = "server_adapters"
PROBE_TOKENS = 8
"""Number of greedy tokens that show whether log-probs are those of the sampling."""
LARGEST_DIFFERENCE = 0.5
"""Mean difference of a token's log-prob, in nats, above which server and policy cannot have the same weights; other
precision, such as 4 bits, makes a fifth of it."""


class ServerRollouts:
    """Sample completions at vLLM servers, which are given the adapter after each update.

    Prompts are sent as token ids, and completions come back as token ids. A server loads the adapter from a folder by
    vLLM's endpoint for LoRA at run time. Start it with ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=True``, ``--enable-lora``,
    ``--max-lora-rank`` of at least ``lora.r`` (twice that for the variants corda and osf), and ``--logprobs-mode
    processed_logprobs`` if the temperature is not 1.

    The server's log-probs differ from the policy's in the last digits. The policy objective is corrected by truncated
    importance sampling (``functional/importance.py``), which costs one more forward per step.

    A server that does not answer is waited for, and a restarted one is given the adapter again: no step is lost.

    Args:
        url: Address of the server, such as http://localhost:8000; or several, of which each process takes one in turn.
        folder: Folder for adapters, which servers must see under the same path; by default a folder in the run's.
        key_variable: Environment variable with the key of the server; null to send none.
        max_importance_ratio: Largest importance weight of a token, C in min(policy / sampler, C).
        parallel: Maximum number of requests at the same time per process; each is for all completions of a prompt.
        timeout: Seconds that a request may take.
        patience: Seconds to wait for a server that does not answer before the run ends.
    """

    def __init__(
        self,
        url: str | list[str],
        folder: str | None = None,
        key_variable: str | None = None,
        max_importance_ratio: float = 2.0,
        parallel: int = 64,
        timeout: float = 600.0,
        patience: float = 1800.0,
    ) -> None:
        self.urls = [_base_url(one) for one in ([url] if isinstance(url, str) else url)]
        if not self.urls:
            raise ValueError(
                f"{OPTION}.init_args.url: the list is empty; give an address such as http://localhost:8000"
            )
        if max_importance_ratio < 1:
            raise ValueError(
                f"{OPTION}.init_args.max_importance_ratio: {max_importance_ratio:g} would cut weights that need no "
                "correction; give 1 or more, e.g. 2.0"
            )
        for name, value in (("parallel", parallel), ("timeout", timeout), ("patience", patience)):
            if value <= 0:
                raise ValueError(f"{OPTION}.init_args.{name}: {value:g} is not positive; give a larger number")
        self.folder, self.key_variable, self.max_importance_ratio = folder, key_variable, max_importance_ratio
        self.parallel, self.timeout, self.patience = parallel, timeout, patience
        self._client: ServerClient | None = None
        self._adapter = Path()  # that the server was given last
        self._checked_at = -1  # number of the server's losses when it was last checked

    def begin(self, root: Path, rank: int) -> None:
        """Set the place of this process in the run; called again, it changes nothing.

        Args:
            root: Folder of the run.
            rank: Rank of this process.

        Raises:
            ValueError: If the variable with the key is not set.
        """
        if self._client is None:
            run = hashlib.blake2b(str(root.absolute()).encode(), digest_size=4).hexdigest()
            self._root = Path(self.folder, f"{root.name}-{run}").absolute() if self.folder else root.absolute() / FOLDER
            self._rank = rank
            connection = Connection(self.urls[rank % len(self.urls)], _read_key(self.key_variable), self.timeout)
            self._client = ServerClient(connection, self.key_variable, self.patience)

    @property
    def client(self) -> ServerClient:
        """Client of this process's server."""
        assert self._client is not None, "begin comes first"
        return self._client

    def sample(
        self, policy: Policy, prompts: list[list[int]], asked: CompletionRequest, seed: int, budget: int
    ) -> Rollouts:
        """Sample completions with the policy's current adapter.

        All processes of a run must call this with the same weights, though not at the same time: the first one writes
        the adapter.

        Args:
            policy: Policy whose adapter the server gets.
            prompts: Token ids of the prompts.
            asked: Settings of the sampling.
            seed: Seed of the first completion; a repeated request is for the same ones.
            budget: Maximum number of tokens per forward, to compare log-probs.

        Returns:
            Rollouts on the policy's device.

        Raises:
            ValueError: If the server refuses the adapter or a request, has other weights than the policy, or does not
                answer within ``patience``.
        """
        self.client.stop = threading.Event()
        self._hand_over(policy)
        bodies = (asked.body(self._adapter.name, ids, seed + i * asked.count) for i, ids in enumerate(prompts))
        calls = [partial(self.client.complete, body, asked.read) for body in bodies]
        unchecked = bool(prompts) and asked.logprobs and self._checked_at != self.client.losses
        losses = self.client.losses
        if unchecked and asked.temperature != 1:
            self._check_mode(prompts[0], asked)
        sampled = [one for group in call_all(calls, self.parallel, self.client.stop) for one in group]
        if unchecked:
            self._compare(policy, prompts[0], sampled[: asked.count], asked.temperature, budget)
            self._checked_at = losses
        logps = [one.logps for one in sampled] if asked.logprobs else None
        return pack_rollouts(policy, prompts, [one.ids for one in sampled], asked.count, logps)

    def close(self) -> None:
        """Remove the run's adapter from server and folder, if one was handed over."""
        if self._adapter.name:
            self.client.unload(self._adapter.name)
            if self._rank == 0:
                shutil.rmtree(self._root, ignore_errors=True)
            self._adapter = Path()

    def _hand_over(self, policy: Policy) -> None:
        """Let the server load the adapter, unless it has these weights."""
        adapter = self._root / adapter_name(policy)
        if adapter == self._adapter:
            return
        config = policy.model.peft_config["default"]
        rank = check_servable(config)
        if self._rank == 0:
            write_adapter(policy, adapter)
        else:
            wait_for_adapter(adapter)
        old, self._adapter = self._adapter.name, adapter
        self.client.load(adapter, rank)
        if old:
            self.client.unload(old)

    def _check_mode(self, prompt: list[int], asked: CompletionRequest) -> None:
        """Refuse log-probs that are not those of the sampling.

        If only the likeliest token may be sampled, its probability is 1 after the sampling settings, and less before.
        """
        tokens = min(PROBE_TOKENS, asked.max_tokens)
        greedy = CompletionRequest(1, tokens, (), logprobs=True, temperature=asked.temperature, top_k=1)
        (probe,) = self.client.complete(greedy.body(self._adapter.name, prompt, seed=0), greedy.read)
        if sum(probe.logps) < -1e-3:
            raise ValueError(
                f"{OPTION}: {self.client.host} gives log-probs of temperature 1, and samples at {asked.temperature:g}; "
                "start it with --logprobs-mode processed_logprobs, or set model.init_args.temperature: 1.0"
            )

    def _compare(
        self, policy: Policy, prompt: list[int], sampled: Sequence[Sampled], temperature: float, budget: int
    ) -> None:
        """Refuse a server whose log-probs are those of other weights."""
        ids = [one.ids for one in sampled]
        own = compute_logprobs(policy, Completions([prompt] * len(ids), ids, [temperature] * len(ids)), budget).tolist()
        pairs = [pair for one, logps in zip(sampled, own, strict=True) for pair in zip(one.logps, logps, strict=False)]
        difference = sum(abs(a - b) for a, b in pairs) / max(1, len(pairs))
        if not difference <= LARGEST_DIFFERENCE:  # NaN too
            raise ValueError(
                f"{OPTION}: log-probs of {self.client.host} differ from the policy's by {difference:.2f} nats per "
                "token, so it does not serve the same weights; serve the model of model.init_args.base, by a vLLM that "
                "applies LoRA to all of its layers"
            )


def _base_url(url: str) -> str:
    """Base of a server's addresses, with ``/v1``.

    Raises:
        ValueError: If it is no address of a server, or holds a secret.
    """
    try:
        address = urlsplit(url)
        usable = address.scheme in ("http", "https") and bool(address.hostname)
        plain = address.username is None and not address.query and not address.fragment
    except ValueError:
        usable = plain = False
    if not usable or not plain:
        shown = repr(url) if plain else "the address"
        raise ValueError(
            f"{OPTION}.init_args.url: {shown} is no scheme, host and path; give e.g. http://localhost:8000, and a key "
            "by key_variable"
        )
    return url.rstrip("/").removesuffix("/v1") + "/v1"


def _read_key(variable: str | None) -> str:
    """Key from the environment; empty if no variable is named.

    Raises:
        ValueError: If the variable is not set.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(
            f"{OPTION}.init_args.key_variable: the environment variable {variable} is not set; run export {variable}=… "
            "with the server's key"
        )
    return key

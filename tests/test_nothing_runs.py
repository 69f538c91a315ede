"""No file that is read runs code: pickles, modules and class paths are planted wherever the package loads something.

A ``class_path`` or ``function`` in a recipe is run by design, and is not tested here; see SECURITY.md.
"""

from __future__ import annotations

import ast
import http.server
import io
import json
import os
import pickle
import re
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs

import semalign_pl

CPU = torch.device("cpu")
MODULE = "planted_{0}"
"""Names of modules that a file may name: a new one for each test, as Python imports a module only once."""


class Mark:
    """Action of a hostile pickle while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


class Planted:
    """A payload, and the trace that shows that it ran.

    Attributes:
        marker: Folder that the payload makes.
        module: Name of a module that makes it when imported; the module is in the working folder, which is on
        ``sys.path``.
    """

    def __init__(self, folder: Path, module: str) -> None:
        self.folder, self.marker, self.module = folder, folder / "executed", module
        self.code = f"import os\nos.makedirs({str(self.marker)!r}, exist_ok=True)\n"
        self.code += "class Module:\n    load = staticmethod(lambda *_, **__: None)\nModel = Tokenizer = Module\n"
        (folder / f"{module}.py").write_text(self.code)

    def pickle(self, file: Path, **content: Any) -> Path:
        """Write a file by torch.save that makes the marker when it is unpickled."""
        torch.save({**content, "mark": Mark(self.marker)}, file)
        return file

    def copy(self, folder: str, name: str = "copy") -> Path:
        """Copy of a model's folder, with the module in it."""
        copied = Path(shutil.copytree(folder, self.folder / name))
        (copied / f"{self.module}.py").write_text(self.code)
        return copied

    def pickled_weights(self, folder: Path) -> Path:
        """The folder, with its weights as a pickle that makes the marker."""
        (folder / "model.safetensors").unlink()
        self.pickle(folder / "pytorch_model.bin")
        return folder


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Planted:
    made = Planted(tmp_path, MODULE.format(abs(hash(request.node.nodeid))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # as the command line does
    return made


def edit(file: Path, **changes: Any) -> None:
    given = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(given | changes), encoding="utf-8")


# -- checkpoints, from the command line --------------------------------------------------------------------------------


CONTENT: dict[str, Any] = {"pytorch-lightning_version": "2.6.6", "state_dict": {}, "epoch": 0, "global_step": 1}


def bare_pickle(planted: Planted) -> str:
    (planted.folder / "x.ckpt").write_bytes(pickle.dumps({**CONTENT, "mark": Mark(planted.marker)}))
    return "x.ckpt"


def old_format(planted: Planted) -> str:
    content = {**CONTENT, "mark": Mark(planted.marker)}
    torch.save(content, planted.folder / "x.ckpt", _use_new_zipfile_serialization=False)
    return "x.ckpt"


def oldest_format(planted: Planted) -> str:
    with tarfile.open(planted.folder / "x.ckpt", "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Mark(planted.marker))
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return "x.ckpt"


def in_memory(planted: Planted) -> str:
    import fsspec

    with fsspec.open("memory://x.ckpt", "wb") as file:
        torch.save({**CONTENT, "mark": Mark(planted.marker)}, file)
    return "memory://x.ckpt"


def of_foreign_class(planted: Planted) -> str:
    hyper_parameters = {"_class_path": f"{planted.module}.Module", "max_new_tokens": 7}
    torch.save({**CONTENT, "hyper_parameters": hyper_parameters}, planted.folder / "x.ckpt")
    return "x.ckpt"


def part(name: str) -> Callable[[Planted], str]:
    def plant(planted: Planted) -> str:
        torch.save({**CONTENT, name: [{"state": Mark(planted.marker)}]}, planted.folder / "x.ckpt")
        return "x.ckpt"

    return plant


def named(path: str, at: str = "x.ckpt") -> Callable[[Planted], str]:
    def plant(planted: Planted) -> str:
        (planted.folder / at).parent.mkdir(parents=True, exist_ok=True)
        planted.pickle(planted.folder / at, **CONTENT)
        return path.format(folder=planted.folder, port=planted.port)  # type: ignore[attr-defined]

    return plant


URL, PICKLED, FOREIGN = "is a URL, and only local files are read", "not a checkpoint", "do not fit|stage|resume"
CHECKPOINTS: dict[str, tuple[Callable[[Planted], str], str]] = {
    "http": (named("http://127.0.0.1:{port}/x.ckpt"), URL),
    "HTTP": (named("HTTP://127.0.0.1:{port}/x.ckpt"), URL),
    "http in a chain": (named("simplecache::http://127.0.0.1:{port}/x.ckpt"), URL),
    "chain without //": (named("simplecache::{folder}/x.ckpt"), URL),
    "file URL": (named("file://{folder}/x.ckpt"), URL),
    "object store": (named("s3://bucket/x.ckpt"), URL),
    "hub": (named("hf://owner/name/x.ckpt"), URL),
    "memory": (in_memory, URL),
    "a folder named http:": (named("http://127.0.0.1/x.ckpt", "http:/127.0.0.1/x.ckpt"), URL),
    "a name that begins with http": (named("https.ckpt", "https.ckpt"), PICKLED),
    "registry of models": (named("registry:owner/name"), "there is no file"),
    "pickle": (bare_pickle, PICKLED),
    "torch's old format": (old_format, PICKLED),
    "torch's oldest format": (oldest_format, PICKLED),
    "state_dict": (part("state_dict"), PICKLED),
    "optimizer_states": (part("optimizer_states"), PICKLED),
    "lr_schedulers": (part("lr_schedulers"), PICKLED),
    "callbacks": (part("callbacks"), PICKLED),
    "loops": (part("loops"), PICKLED),
    "hyper_parameters": (part("hyper_parameters"), PICKLED),
    "_class_path of hyper_parameters": (of_foreign_class, FOREIGN),
}


@pytest.fixture
def server(planted: Planted) -> Iterator[None]:
    """Serve the planted folder over HTTP."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(planted.folder))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        planted.port = running.server_address[1]  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield
        running.shutdown()
        thread.join()


def refusal(capfd: pytest.CaptureFixture[str], args: list[str]) -> str:
    """The one line with which a command is refused."""
    from semalign_pl.__main__ import main

    capfd.readouterr()
    assert main(args) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("semalign: error: ")]
    assert len(lines) == 1
    return lines[0]


COMMANDS = ("fit", "test", "validate", "predict")


@pytest.mark.parametrize(
    ("place", "command"),
    [(place, COMMANDS[n % 4]) for n, place in enumerate(CHECKPOINTS)] + [("http", c) for c in COMMANDS[1:]],
)
@pytest.mark.usefixtures("server")
def test_no_checkpoint(place: str, command: str, planted: Planted, runs: Runs, capfd: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TORCH_HOME", str(planted.folder / "torch"))  # torch.hub downloads to this folder
    plant, message = CHECKPOINTS[place]
    said = refusal(capfd, runs.args(command, "sft", "run", f"ckpt_path={plant(planted)}"))
    assert not planted.marker.exists(), f"executed; {said}"
    assert re.search(message, said), said


# -- functions that load files -----------------------------------------------------------------------------------------


def causal_lm(folder: Path) -> Any:
    from semalign_pl.policy.load import load_policy

    return load_policy(str(folder), "fp32", None, None, CPU)


def adapter(base: str, folder: Path) -> Any:
    from semalign_pl.policy.load import load_policy

    return load_policy(base, "fp32", None, str(folder), CPU)


def sentence_encoder(folder: Path) -> Any:
    from semalign_pl.encoder.sentence_encoder import SentenceEncoder

    return SentenceEncoder(folder).encode(["x"])


def trained_encoder(folder: Path) -> Any:
    from semalign_pl.modules.encoder import load_encoder

    return load_encoder(str(folder), None)


def cross_encoder(folder: Path) -> Any:
    from semalign_pl.rewards import CrossEncoderReward

    return CrossEncoderReward(str(folder)).load(CPU)


def judge(folder: Path) -> Any:
    from semalign_pl.rewards import RerankerReward

    return RerankerReward(str(folder), weights="fp32").load(CPU)


def tokens(folder: Path) -> Any:
    from semalign_pl.inspection.tokens import TokenCounter

    return TokenCounter(str(folder)).encode(["x"])


def plan(folder: Path) -> Any:
    from semalign_pl.plan.meta_policy import read_config

    return read_config("model.init_args.base", str(folder))


def rows(path: Path) -> Any:
    from semalign_pl.data.reading.sources import stream

    return list(stream(str(path), {"zh": "zh"}))


BASES = {"base": causal_lm, "judge": judge}


@pytest.fixture(scope="module")
def ranker(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a random CrossEncoder."""
    from transformers import BertForSequenceClassification

    folder = tmp_path_factory.mktemp("ranker")
    shutil.copytree(encoder, folder, dirs_exist_ok=True)
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    BertForSequenceClassification.from_pretrained(encoder, num_labels=1).save_pretrained(folder)
    return str(folder)


def own_code(planted: Planted, folder: Path, file: str, *autos: str) -> Path:
    """The folder, whose config says that its class is in the module in this folder."""
    edit(folder / file, auto_map={auto: f"{planted.module}.Module" for auto in autos})
    return folder


MODELS = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")


def unknown_model(planted: Planted, folder: Path) -> Path:
    own_code(planted, folder, "config.json", *MODELS)
    edit(folder / "config.json", model_type="planted")
    return folder


def unknown_tokenizer(planted: Planted, folder: Path) -> Path:
    references = {"AutoTokenizer": [f"{planted.module}.Tokenizer", f"{planted.module}.Tokenizer"]}
    edit(folder / "tokenizer_config.json", auto_map=references, tokenizer_class="PlantedTokenizer")
    return folder


def dense(planted: Planted, folder: Path, **config: Any) -> Path:
    """The encoder with one more layer."""
    modules = json.loads((folder / "modules.json").read_text())
    kind = "sentence_transformers.base.modules.dense.Dense"
    modules.append({"idx": 9, "name": "9", "path": "9_Dense", "type": kind})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "9_Dense").mkdir()
    edit(folder / "9_Dense" / "config.json", in_features=32, out_features=32, bias=False, **config)
    torch.save({"linear.weight": torch.eye(32)}, folder / "9_Dense" / "pytorch_model.bin")
    return folder


def pickled_dense(planted: Planted, folder: Path) -> Path:
    dense(planted, folder)
    planted.pickle(folder / "9_Dense" / "pytorch_model.bin")
    return folder


def module_class(planted: Planted, folder: Path) -> Path:
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = f"{planted.module}.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def router(planted: Planted, folder: Path) -> Path:
    kind = "sentence_transformers.base.modules.router.Router"
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
    types = {"query_0": f"{planted.module}.Module"}
    edit(folder / "router_config.json", types=types, structure={"query": ["query_0"]}, parameters={})
    return folder


def word_tokenizer(planted: Planted, folder: Path) -> Path:
    kind = "sentence_transformers.sentence_transformer.modules.word_embeddings.WordEmbeddings"
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "0_Words", "type": kind}]))
    (folder / "0_Words").mkdir()
    edit(folder / "0_Words" / "wordembedding_config.json", tokenizer_class=f"{planted.module}.Tokenizer")
    return folder


def trusting_config(planted: Planted, folder: Path) -> Path:
    trust = {"trust_remote_code": True}
    edit(folder / "sentence_bert_config.json", model_args=trust, config_args=trust, tokenizer_args=trust)
    return unknown_model(planted, folder)


def activation(planted: Planted, folder: Path) -> Path:
    edit(folder / "config.json", sentence_transformers={"activation_fn": f"{planted.module}.Module"})
    return folder


def settings(**config: Any) -> Callable[[Planted, Path], Path]:
    def plant(planted: Planted, folder: Path) -> Path:
        given = json.dumps(config).replace("MODULE", planted.module).replace("FOLDER", str(planted.folder))
        edit(folder / "adapter_config.json", **json.loads(given))
        planted.pickle(planted.folder / "cache.pt")
        return folder

    return plant


def pickled_adapter(planted: Planted, folder: Path) -> Path:
    (folder / "adapter_model.safetensors").unlink()
    planted.pickle(folder / "adapter_model.bin")
    return folder


def beside_an_adapter(planted: Planted, folder: Path) -> Path:
    for name in ("adapter_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        planted.pickle(folder / name)
    return folder


def hub_attention(planted: Planted, folder: Path) -> Path:
    edit(folder / "config.json", attn_implementation="planted/attention")
    return folder


def custom_generate(planted: Planted, folder: Path) -> Path:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(planted.code)
    edit(folder / "generation_config.json", custom_generate=str(folder))
    return folder


def escaping_template(planted: Planted, folder: Path) -> Path:
    escape = f"{{{{ cycler.__init__.__globals__.os.mkdir({str(planted.marker)!r}) }}}}"
    (folder / "chat_template.jinja").write_text(escape + "{{ messages[0].content }}")
    return folder


def script(planted: Planted) -> Path:
    folder = planted.folder / "corpus"
    folder.mkdir()
    (folder / "corpus.py").write_text(planted.code)
    (folder / "train.jsonl").write_text('{"zh": "x"}\n')
    return folder


def pickled_rows(planted: Planted) -> Path:
    folder = planted.folder / "corpus"
    folder.mkdir()
    (folder / "train.pkl").write_bytes(pickle.dumps(Mark(planted.marker)))
    return folder


def webdataset(planted: Planted) -> Path:
    folder = planted.folder / "corpus"
    folder.mkdir()
    with tarfile.open(folder / "train.tar", "w") as tar:
        for suffix in ("pickle", "pyd", "pth", "npy"):
            content = pickle.dumps(Mark(planted.marker))
            member = tarfile.TarInfo(f"0.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return folder


def saved_dataset(planted: Planted) -> Path:
    import datasets

    folder = planted.folder / "corpus"
    datasets.Dataset.from_list([{"zh": "x"}]).save_to_disk(str(folder))
    info = json.loads((folder / "dataset_info.json").read_text())
    info["features"]["zh"] = {"_type": f"{planted.module}.Module", "dtype": "string"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def parquet_extension(planted: Planted) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Mark(planted.marker)),
    }
    schema = pa.schema([pa.field("zh", pa.string(), metadata=metadata)])
    pq.write_table(pa.table({"zh": ["x"]}, schema=schema), planted.folder / "rows.parquet")
    return planted.folder / "rows.parquet"


def object_arrow(planted: Planted) -> Path:
    import pyarrow as pa

    folder = planted.folder / "corpus"
    folder.mkdir()
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Mark(planted.marker)),
    }
    schema = pa.schema([pa.field("zh", pa.string(), metadata=metadata)])
    with pa.OSFile(str(folder / "train.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        writer.write_table(pa.table({"zh": ["x"]}, schema=schema))
    return folder


def models() -> dict[str, tuple[str, Callable[[Planted, Path], Path], Callable[..., Any]]]:
    """For each place: the fixture whose folder is changed, the change, and the function that loads it."""
    found: dict[str, tuple[str, Callable[[Planted, Path], Path], Callable[..., Any]]] = {}
    for name, load in BASES.items():
        found[f"{name}: weights"] = ("base", Planted.pickled_weights, load)
        found[f"{name}: model class"] = ("base", unknown_model, load)
        found[f"{name}: model class of a known model"] = (
            "base",
            lambda planted, folder: own_code(planted, folder, "config.json", *MODELS),
            load,
        )
        found[f"{name}: tokenizer class"] = ("base", unknown_tokenizer, load)
        found[f"{name}: attention of the hub"] = ("base", hub_attention, load)
        found[f"{name}: generate"] = ("base", custom_generate, load)
        found[f"{name}: chat template"] = ("base", escaping_template, load)
    for name, load in (("encoder", sentence_encoder), ("trained encoder", trained_encoder)):
        found[f"{name}: weights"] = ("encoder", Planted.pickled_weights, load)
        found[f"{name}: model class"] = ("encoder", unknown_model, load)
        found[f"{name}: model class, trusted by its config"] = ("encoder", trusting_config, load)
        found[f"{name}: tokenizer class"] = ("encoder", unknown_tokenizer, load)
        found[f"{name}: class of a module"] = ("encoder", module_class, load)
        found[f"{name}: class in a router"] = ("encoder", router, load)
        found[f"{name}: tokenizer of words"] = ("encoder", word_tokenizer, load)
        found[f"{name}: weights of a layer"] = ("encoder", pickled_dense, load)
        found[f"{name}: activation of a layer"] = (
            "encoder",
            lambda planted, folder: dense(planted, folder, activation_function=f"{planted.module}.Module"),
            load,
        )
    found["trained encoder: weights of a bare model"] = (
        "encoder",
        lambda planted, folder: [(folder / "modules.json").unlink(), planted.pickled_weights(folder)][1],
        trained_encoder,
    )
    found["trained encoder: class of a bare model"] = (
        "encoder",
        lambda planted, folder: [(folder / "modules.json").unlink(), unknown_model(planted, folder)][1],
        trained_encoder,
    )
    found["cross-encoder: weights"] = ("ranker", Planted.pickled_weights, cross_encoder)
    found["cross-encoder: model class"] = ("ranker", unknown_model, cross_encoder)
    found["cross-encoder: tokenizer class"] = ("ranker", unknown_tokenizer, cross_encoder)
    found["cross-encoder: activation"] = ("ranker", activation, cross_encoder)
    found["cross-encoder: class of a module"] = (
        "ranker",
        lambda planted, folder: [(folder / "modules.json").write_text("[{}]"), module_class(planted, folder)][1],
        cross_encoder,
    )
    found["plan: model class"] = ("base", unknown_model, plan)
    found["corpus --model: tokenizer class"] = ("base", unknown_tokenizer, tokens)
    return found


MODELS_BY_PLACE = models()


def try_to_load(planted: Planted, load: Callable[[], Any]) -> None:
    """Load; the result is a `ValueError` of this package or a success, and nothing planted has run."""
    try:
        load()
    except ValueError as error:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        assert frame is not None and frame.tb_frame.f_globals["__name__"].startswith("semalign_pl"), error
        assert "trust_remote_code" not in str(error), error
    assert not planted.marker.exists()


@pytest.mark.parametrize("place", MODELS_BY_PLACE)
def test_no_model(place: str, planted: Planted, request: pytest.FixtureRequest, monkeypatch: Any) -> None:
    def asked(*_: Any) -> str:
        raise AssertionError("nobody is asked on the terminal whether code may be run")

    monkeypatch.setattr("builtins.input", asked)
    fixture, plant, load = MODELS_BY_PLACE[place]
    folder = planted.copy(request.getfixturevalue(fixture))
    if plant is Planted.pickled_weights:
        planted.pickled_weights(folder)
    else:
        plant(planted, folder)
    try_to_load(planted, lambda: load(folder))


@pytest.mark.parametrize("load", [sentence_encoder, trained_encoder])
def test_an_activation_that_is_not_run_is_not_replaced(load: Any, planted: Planted, encoder: str) -> None:
    """sentence-transformers uses Tanh instead, and continues."""
    folder = dense(planted, planted.copy(encoder), activation_function=f"{planted.module}.Module")
    with pytest.raises(ValueError, match=r"9_Dense/config.json in it names planted_\d+.Module as activation_function"):
        load(folder)
    edit(folder / "9_Dense" / "config.json", activation_function="torch.nn.modules.activation.ReLU")
    assert load(folder) is not None


ADAPTERS: dict[str, Callable[[Planted, Path], Path]] = {
    "weights": pickled_adapter,
    "pickles beside the weights": beside_an_adapter,
    "tokenizer class": unknown_tokenizer,
    "base class": settings(auto_mapping={"base_model_class": "Model", "parent_library": "MODULE"}, task_type=None),
    "megatron": settings(megatron_core="MODULE", megatron_config={"a": 1}),
    "megatron without config": settings(megatron_core="MODULE"),
    "cache of CorDA": settings(
        init_lora_weights="corda", corda_config={"cache_file": "FOLDER/cache.pt", "covariance_file": "FOLDER/cache.pt"}
    ),
    "cache of LoRA-GA": settings(init_lora_weights="lora_ga", lora_ga_config={"cache_file": "FOLDER/cache.pt"}),
}


@pytest.mark.parametrize("place", ADAPTERS)
def test_no_adapter(place: str, planted: Planted, base: str, sft_adapter: str) -> None:
    folder = ADAPTERS[place](planted, planted.copy(sft_adapter))
    try_to_load(planted, lambda: adapter(base, folder))


CORPORA: dict[str, Callable[[Planted], Path]] = {
    "loading script": script,
    "pickled table": pickled_rows,
    "tar of pickles": webdataset,
    "feature of save_to_disk": saved_dataset,
    "extension type of Parquet": parquet_extension,
    "extension type of Arrow": object_arrow,
}


@pytest.mark.parametrize("place", CORPORA)
def test_no_corpus(place: str, planted: Planted) -> None:
    path = CORPORA[place](planted)
    try_to_load(planted, lambda: rows(path))


def test_no_cached_embedding(planted: Planted, encoder: str) -> None:
    import numpy as np

    from semalign_pl.encoder.corpus_embeddings import CorpusEmbeddings, _checksum
    from semalign_pl.encoder.sentence_encoder import SentenceEncoder

    cached = planted.folder / "cache"
    whole = SentenceEncoder(encoder)
    right = CorpusEmbeddings(whole, ["x", "y"], cached)(["x"])
    (file,) = cached.glob("*.npy")
    body = io.BytesIO()
    np.save(body, np.array([Mark(planted.marker)], dtype=object), allow_pickle=True)
    file.write_bytes(body.getvalue() + _checksum(file, body.getvalue()))
    assert torch.equal(CorpusEmbeddings(whole, ["x", "y"], cached)(["x"]), right)
    assert not planted.marker.exists()


def test_no_prepared_corpus(planted: Planted) -> None:
    import numpy as np

    from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
    from semalign_pl.data.examples import UNUSED, choose_rows

    (planted.folder / "rows.jsonl").write_text('{"zh": "x"}\n{"zh": "y"}\n')
    prepared = prepare(CorpusRequest("rows.jsonl", {"zh": "zh"}), cache=planted.folder / "cache")
    prepared.report["kept"] = 1
    np.save(prepared.folder / UNUSED, np.array([Mark(planted.marker)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        choose_rows([prepared], seed=0, skip=0, limit=None)
    assert not planted.marker.exists()


def test_no_dialect_pack(planted: Planted) -> None:
    from semalign_pl.languages.tibetan import words

    pack = planted.folder / "pack"
    (pack / "dictionary" / "words").mkdir(parents=True)
    (pack / "adjustments").mkdir()
    (pack / "dictionary" / "words" / "list.tsv").write_text("# form\tpos\tlemma\tsense\tfreq\nབོད་ཡིག\tX\t\t\t\n")
    (planted.folder / "pack_trie.pickled").write_bytes(pickle.dumps(Mark(planted.marker)))
    assert words("བོད་ཡིག", pack) == ["བོད་ཡིག"] and not planted.marker.exists()


# -- YAML --------------------------------------------------------------------------------------------------------------

TAG = "!!python/object/apply:os.mkdir [{marker}]"
YAMLS: dict[str, Callable[[Planted, Runs], list[str]]] = {
    "recipe": lambda planted, runs: ["fit", "--config", tagged(planted, "recipe.yaml", "model: {tag}\n")],
    "recipe by http": lambda planted, runs: ["fit", "--config", f"http://127.0.0.1:{planted.port}/recipe.yaml"],  # type: ignore[attr-defined]
    "model by http": lambda planted, runs: ["fit", f"--model=http://127.0.0.1:{planted.port}/recipe.yaml"],  # type: ignore[attr-defined]
    "recipe by file URL": lambda planted, runs: ["fit", "--config", f"file://{planted.folder}/recipe.yaml"],
    "flag": lambda planted, runs: runs.args("fit", "sft", "run", f"model.init_args.base={tag(planted)}"),
    "study": lambda planted, runs: ["study", "--config", str(tagged_study(planted))],
    "language": lambda planted, runs: runs.args(
        "fit", "sft", "run", f"data.init_args.languages={{zh: {tagged(planted, 'own.yaml', 'code: {tag}')}}}"
    ),
}


def tag(planted: Planted) -> str:
    return TAG.format(marker=planted.marker)


def tagged(planted: Planted, name: str, text: str) -> str:
    (planted.folder / name).write_text(text.replace("{tag}", tag(planted)))
    return str(planted.folder / name)


def tagged_study(planted: Planted) -> Path:
    (planted.folder / "study").mkdir()
    tagged(planted, "study/study.yaml", "a: {tag}\n")
    return planted.folder / "study"


@pytest.mark.parametrize("place", YAMLS)
@pytest.mark.usefixtures("server")
def test_no_yaml(place: str, planted: Planted, runs: Runs, capfd: Any) -> None:
    recipe = f"model: {{class_path: {planted.module}.Module}}\ntrainer: {{callbacks: {planted.module}.Module}}\n"
    (planted.folder / "recipe.yaml").write_text(recipe)
    refusal(capfd, YAMLS[place](planted, runs))
    assert not planted.marker.exists()


# -- common to all places ----------------------------------------------------------------------------------------------

SAFE = {
    "from_pretrained": ("trust_remote_code", False),
    "from_config": ("trust_remote_code", False),
    "SentenceTransformer": ("trust_remote_code", False),
    "CrossEncoder": ("trust_remote_code", False),
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
}
OWN = ("LoraConfig.from_pretrained", "PeftModel.from_pretrained")
"""Loaders of PEFT, which never runs code from a folder; they read files that `adapter_folder` has checked."""


def unsafe_calls(source: str) -> list[str]:
    """Calls that load something and do not set the safe option."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        options = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
        option, value = SAFE.get(name) or SAFE.get(name.rpartition(".")[2]) or (None, None)
        made = any(keyword.arg == "modules" for keyword in call.keywords)  # from modules in memory
        if option and name not in OWN and not made and options.get(option) is not value:
            found.append(f"line {call.lineno}: {name} without {option}={value}")
        if name.rpartition(".")[0] in ("pickle", "dill", "joblib", "marshal", "shelve") or name in ("eval", "exec"):
            found.append(f"line {call.lineno}: {name}")
    return found


def test_every_load_names_its_safe_option() -> None:
    package = Path(semalign_pl.__file__).parent
    files = {str(file.relative_to(package)): file.read_text(encoding="utf-8") for file in package.rglob("*.py")}
    assert len(files) > 100
    assert {file: calls for file, source in files.items() if (calls := unsafe_calls(source))} == {}


def test_an_unsafe_call_is_found() -> None:
    assert len(unsafe_calls("torch.load(f)\nnp.load(f, allow_pickle=True)\nAutoModel.from_pretrained(x)\neval(x)")) == 4

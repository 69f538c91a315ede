"""The contrastive loss and its cached gradient against plain ones, what training does, and what it leaves."""

from __future__ import annotations

import functools
import json
import shutil

import pytest
import torch
from conftest import PAIRS
from small_runs import Runs, assert_same
from tiny import fit
from torch import Tensor
from torch.nn import functional as F

from semalign_pl.cli import main
from semalign_pl.encoder import SentenceEncoder
from semalign_pl.errors import one_line
from semalign_pl.modules import Constant, EmbedderModule
from semalign_pl.modules.negatives import HardNegatives, distinct
from semalign_pl.types import Example


def examples(*rows: int) -> list[Example]:
    return [Example(str(i), PAIRS[i]["zh"], PAIRS[i]["bo"], source=PAIRS[i]["zh"]) for i in rows]


BATCH = examples(0, 5, 10, 17, 22, 31, 47)


@pytest.fixture(scope="module")
def still(encoder, tmp_path_factory) -> str:
    """The fixture's encoder without dropout."""
    folder = tmp_path_factory.mktemp("still") / "encoder"
    shutil.copytree(encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


class Recording(EmbedderModule):
    """Keeps the gradient of each update and the weights before it."""

    def update(self) -> Tensor:
        self.gradient = torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in self.parameters()]
        )
        self.before = {name: weight.clone() for name, weight in self.encoder.state_dict().items()}
        return super().update()


def step(base: str, batch: list[Example] = BATCH, kind=None, **options) -> tuple[Recording, float]:
    """One step of SGD on one batch; the module, and the loss it logged."""
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    module = (kind or Recording)(base, sgd, **{"lr_scheduler": Constant, "max_grad_norm": 1e9, **options})
    trainer = fit(module, [batch])
    return module, float(trainer.logged_metrics["train/loss"])


def info_nce(vectors: Tensor, temperature: float, negatives: int = 0) -> Tensor:
    """InfoNCE both ways, written out: a source among its reference and all others, a reference among the sources."""
    pairs = (len(vectors) - negatives) // 2
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    sources, references, texts = unit[:pairs], unit[pairs : 2 * pairs], unit[pairs:]
    losses = []
    for i in range(pairs):
        there = torch.stack([(sources[i] @ text / temperature).exp() for text in texts])
        back = torch.stack([(references[i] @ source / temperature).exp() for source in sources])
        losses += [-(there[i] / there.sum()).log(), -(back[i] / back.sum()).log()]
    return torch.stack(losses).mean()


def plain(
    module: Recording, texts: list[str], temperature: float = 0.05, negatives: int = 0, back: Tensor | None = None
) -> tuple[float, Tensor]:
    """Loss and gradient by one backward through all texts at once, at the weights before the update."""
    encoder = module.encoder
    encoder.load_state_dict(module.before)
    vectors = encoder.train()(encoder.preprocess(texts))["sentence_embedding"]
    vectors = vectors if back is None else vectors[back]
    loss = info_nce(vectors, temperature, negatives)
    weights = list(encoder.parameters())
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    return loss.item(), torch.cat(
        [(torch.zeros_like(w) if g is None else g).flatten() for w, g in zip(weights, gradients, strict=True)]
    )


def texts_of(batch: list[Example]) -> list[str]:
    return [*(e.source for e in batch), *(e.reference for e in batch)]


@pytest.mark.parametrize("micro_batch", [1, 3, 14, 64])
def test_loss_and_gradient_are_the_plain_ones_for_every_micro_batch(still, micro_batch):
    module, loss = step(still, micro_batch=micro_batch, temperature=0.1)
    wanted, gradient = plain(module, texts_of(BATCH), 0.1)
    assert loss == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(module.gradient, gradient, rtol=1e-3, atol=1e-5)
    assert gradient.norm() > 0.1


def test_both_forwards_draw_the_same_dropout(encoder):
    """One micro-batch: if its second forward dropped other units, the gradient would belong to another loss."""

    class Seeded(Recording):
        def _embed(self, features, seed):
            self.seeds = [*getattr(self, "seeds", []), seed]
            return super()._embed(features, seed)

    module, loss = step(encoder, kind=Seeded)
    # The module puts texts of like length together, and dropout falls by place.
    texts = texts_of(BATCH)
    order = torch.tensor(sorted(range(14), key=lambda i: (i >= 7, len(texts[i]))))
    for seed, same in ((module.seeds[0], True), (module.seeds[0] + 1, False)):
        torch.manual_seed(seed)
        wanted, gradient = plain(module, [texts[i] for i in order], back=order.argsort())
        assert (loss == pytest.approx(wanted, rel=1e-5)) == same
        assert torch.allclose(module.gradient, gradient, rtol=1e-3, atol=1e-5) == same


def test_a_repeated_text_is_no_wrong_answer(still):
    """A source with another reference, a reference with another source and a pair twice change nothing."""
    source, reference = BATCH[0].source, BATCH[1].reference
    repeated = [
        *BATCH,
        Example("a", source, "གཞན།", source=source),
        Example("b", "别的", reference, source="别的"),
        BATCH[2],
    ]
    assert distinct(repeated) == BATCH
    module, loss = step(still, repeated)
    other, wanted = step(still)
    assert loss == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(module.gradient, other.gradient)
    assert module._trainer.logged_metrics["train/pairs_left_out"] == 3


def test_training_in_bfloat16_keeps_float32_weights_and_compares_in_float32(still):
    sgd = functools.partial(torch.optim.SGD, lr=0.1)
    module = Recording(still, sgd, lr_scheduler=Constant, max_grad_norm=1e9, temperature=0.1)
    trainer = fit(module, [BATCH], precision="bf16-mixed")
    wanted, gradient = plain(module, texts_of(BATCH), 0.1)
    assert all(weight.dtype == torch.float32 for weight in module.encoder.parameters())
    assert float(trainer.logged_metrics["train/loss"]) == pytest.approx(wanted, rel=0.02)
    assert F.cosine_similarity(module.gradient, gradient, dim=0) > 0.99


# -- hard negatives ------------------------------------------------------------------------------------------------


def test_hard_negatives_are_the_nearest_wrong_references(still):
    from sentence_transformers import SentenceTransformer

    pairs = [*examples(*range(20)), Example("twice", PAIRS[0]["zh"], PAIRS[20]["bo"], source=PAIRS[0]["zh"])]
    encoder, mined = SentenceTransformer(still, device="cpu"), HardNegatives(pairs, count=2, margin=0.001)
    encoder.train()
    mined.mine(encoder, batch_size=8)
    assert encoder.training
    sources, references = list(dict.fromkeys(e.source for e in pairs)), list(dict.fromkeys(e.reference for e in pairs))
    cosines = torch.from_numpy(
        encoder.encode(sources, normalize_embeddings=True) @ encoder.encode(references, normalize_embeddings=True).T
    )
    some = 0
    for i, source in enumerate(sources):
        right = {e.reference for e in pairs if e.source == source}
        own = min(cosines[i, references.index(text)] for text in right)
        allowed = [
            j for j, text in enumerate(references) if text not in right and cosines[i, j] <= own - 0.001 * abs(own)
        ]
        wanted = sorted(allowed, key=lambda j: -cosines[i, j])[:2]
        assert mined.found[i] == wanted
        some += len(wanted)
    assert some > 10


def test_what_is_right_for_another_pair_of_the_batch_is_no_hard_negative():
    mined = HardNegatives([*BATCH, Example("other", BATCH[0].source, "གཞན།", source=BATCH[0].source)], 3, 0.05)
    mined.found = [[1, 7, 4], [7, 2, 5], [5], [], [], [], []]  # 7: the other right reference of the first source
    assert mined.of(BATCH[:2]) == [BATCH[4].reference, BATCH[2].reference, BATCH[5].reference]
    assert mined.of(BATCH[1:3]) == ["གཞན།", BATCH[5].reference]


def test_hard_negatives_enter_the_loss(still, monkeypatch):
    negatives = [PAIRS[i]["bo"] for i in (3, 4, 6)]
    monkeypatch.setattr(HardNegatives, "of", lambda self, pairs: negatives)
    module = Recording(
        still, functools.partial(torch.optim.SGD, lr=0.1), lr_scheduler=Constant, max_grad_norm=1e9, micro_batch=4
    )
    module._mined = HardNegatives(BATCH, 1, 0.05)
    module.on_train_epoch_start = lambda: None
    trainer = fit(module, [BATCH])
    wanted, gradient = plain(module, texts_of(BATCH) + negatives, 0.05, negatives=3)
    assert float(trainer.logged_metrics["train/loss"]) == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(module.gradient, gradient, rtol=1e-3, atol=1e-5)


# -- runs of the command line --------------------------------------------------------------------------------------


def args(runs: Runs, command: str, name: str, *flags: str) -> list[str]:
    recipe = {
        "seed_everything": 3,
        "model": {
            "class_path": "EmbedderModule",
            "init_args": {
                "base": runs.encoder,
                "micro_batch": 16,
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 5e-3}},
            },
        },
        "data": {
            "class_path": "CorpusDataModule",
            "init_args": {
                "train": str(runs.corpus / "train.jsonl"),
                "validation": str(runs.corpus / "dev.jsonl"),
                "test": str(runs.corpus / "train.jsonl"),
                "batch_size": 16,
                "eval_batch_size": 5,
            },
        },
        "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
    }
    path = runs.write(recipe, f"{name}-{command}")
    return [
        command,
        "--config",
        str(path),
        f"--trainer.default_root_dir={runs.folder / name}",
        *(f"--{f}" for f in flags),
    ]


def test_fit_and_test_through_the_command_line(runs: Runs, capsys) -> None:
    """Training makes the pairs' halves find each other; the folder it leaves is a SentenceTransformer."""
    from sentence_transformers import SentenceTransformer

    main(args(runs, "test", "before"))
    main(args(runs, "fit", "run", "trainer.max_epochs=20", "trainer.check_val_every_n_epoch=10"))
    folder = runs.folder / "run" / "encoder"
    main(args(runs, "test", "run", f"model.init_args.base={folder}"))
    before, after = (runs.results(name)["metrics"] for name in ("before", "run"))
    for name in ("accuracy_at_1_source_to_target", "accuracy_at_1_target_to_source", "discrimination"):
        assert before[name]["value"] < 0.4 and after[name]["value"] > 0.6, name
    assert after["margin"]["value"] > 0 > before["margin"]["value"]
    for score in after.values():
        assert set(score) == {"value", "ci", "signature"} and "|encoder:encoder@" in score["signature"]
    assert after["alignment"]["signature"] != before["alignment"]["signature"]
    assert runs.results()["run"]["versions"]["sentence-transformers"] and runs.results()["run"]["seed"] == 3
    assert "accuracy_at_1_source_to_target" in capsys.readouterr().out

    logged = [row for row in runs.metrics() if row["val/margin"]]
    assert len(logged) == 2 and all(row[f"val/{name}"] for row in logged for name in after)
    text = PAIRS[0]["bo"]
    vector = SentenceTransformer(str(folder), device="cpu").encode(text, normalize_embeddings=True)
    torch.testing.assert_close(SentenceEncoder(folder).encode([text])[0], torch.from_numpy(vector))
    assert not (runs.folder / "run" / "adapter").exists() and not (folder / "README.md").exists()


def test_interrupted_and_resumed_equals_straight(runs: Runs) -> None:
    """Three batches an epoch, step 4 is within the second: its hard negatives come from the checkpoint."""
    options = ["trainer.max_epochs=3", "model.init_args.hard_negatives=1", "model.init_args.hard_negative_margin=0"]
    kept = json.dumps([runs.checkpoints("straight", 4)])
    straight = main(args(runs, "fit", "straight", *options, f"trainer.callbacks={kept}"))
    assert straight.trainer.global_step == 9
    saved = runs.folder / "straight" / "step=4.ckpt"
    assert any(torch.load(saved, weights_only=True)["semalign"]["negatives"])
    resumed = main(args(runs, "fit", "resumed", *options, f"ckpt_path={saved}"))
    assert_same(dict(resumed.model.state_dict()), dict(straight.model.state_dict()))
    metrics = [runs.metrics(name) for name in ("straight", "resumed")]
    assert [row["train/loss"] for row in metrics[0] if row["train/loss"]][4:] == [
        row["train/loss"] for row in metrics[1] if row["train/loss"]
    ]
    assert any(float(row["train/hard_negatives"]) > 0 for row in metrics[0] if row["train/hard_negatives"])


def test_an_encoder_of_transformers_gets_mean_pooling(runs: Runs, still, tmp_path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(still, folder, ignore=shutil.ignore_patterns("modules.json", "1_*", "*sentence*"))
    cli = main(
        args(
            runs,
            "fit",
            "run",
            f"model.init_args.base={folder}",
            "model.init_args.max_seq_length=12",
            "trainer.max_steps=1",
        )
    )
    encoder = cli.model.encoder
    inputs = encoder.preprocess([PAIRS[0]["bo"], PAIRS[1]["zh"][:3]])
    assert inputs["input_ids"].shape[1] == 12
    encoder.eval()
    states, mask = (
        encoder[0].model(**{k: inputs[k] for k in ("input_ids", "attention_mask")}).last_hidden_state,
        inputs["attention_mask"],
    )
    mean = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(encoder(dict(inputs))["sentence_embedding"], F.normalize(mean, dim=-1))
    assert float(runs.metrics()[0]["train/texts_at_max_seq_length"]) >= 0.5
    assert SentenceEncoder(runs.folder / "run" / "encoder").encode(["书"]).norm().item() == pytest.approx(1)


@pytest.mark.slow
def test_two_processes_train_as_one(runs: Runs, still) -> None:
    options = [
        f"model.init_args.base={still}",
        "trainer.max_steps=3",
        "model.init_args.hard_negatives=1",
        "model.init_args.hard_negative_margin=0",
        "model.init_args.optimizer=torch.optim.SGD",
    ]
    options += ["model.init_args.optimizer.init_args.lr=0.5", "model.init_args.micro_batch=5"]
    one = main(args(runs, "fit", "one", *options, "data.init_args.batch_size=8"))
    two = args(runs, "fit", "two", *options, "data.init_args.batch_size=4", "trainer.devices=2", "trainer.strategy=ddp")
    for code, log in runs.processes(two, ranks=2):
        assert code == 0, log
    both = EmbedderModule(str(runs.folder / "two" / "encoder"))
    fit(both, [BATCH], limit_train_batches=0)
    for name, weight in one.model.state_dict().items():
        torch.testing.assert_close(both.encoder.state_dict()[name], weight, rtol=0, atol=2e-5)
    for a, b in zip(runs.metrics("one"), runs.metrics("two"), strict=True):
        for name in ("train/loss", "train/grad_norm", "train/hard_negatives"):
            assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-4)
    for name in ("one", "two"):
        flags = [f"model.init_args.base={runs.folder / 'one' / 'encoder'}"]
        flags += ["trainer.devices=2", "trainer.strategy=ddp"] if name == "two" else []
        for code, log in runs.processes(args(runs, "test", name, *flags), ranks=1 + (name == "two")):
            assert code == 0, log
    assert_same_scores(runs.results("one")["metrics"], runs.results("two")["metrics"])


def assert_same_scores(one: dict, two: dict) -> None:
    for name, score in one.items():
        assert (
            score["value"] == pytest.approx(two[name]["value"], abs=1e-6)
            and score["signature"] == two[name]["signature"]
        )


# -- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["model.init_args.base=./none"], "model.init_args.base: there is no folder ./none; give"),
        (["model.init_args.base={corpus}"], "model.init_args.base: cannot load"),
        (["model.init_args.max_seq_length=999"], "model.init_args.max_seq_length: 999 tokens, and"),
        (["model.init_args.temperature=0"], "model.init_args.temperature: 0.0 is not above 0; use"),
        (["model.init_args.micro_batch=0"], "model.init_args.micro_batch: 0 is not a positive whole number"),
        (["model.init_args.hard_negatives=-1"], "model.init_args.hard_negatives: -1 is below 0; give"),
        (["model.init_args.hard_negative_margin=1"], "model.init_args.hard_negative_margin: 1.0 is not in [0, 1); use"),
        (
            ["model.init_args.micro_bach=2"],
            "model.init_args.micro_bach: there is no such key; did you mean micro_batch?",
        ),
        (["data.init_args.batch_size=1"], "data.init_args.batch_size: a pair alone has no wrong answer beside it; use"),
        (["data.init_args.task.init_args.source_only=true"], "train.jsonl:"),
    ],
)
def test_mistakes(runs: Runs, capsys, flags: list[str], answer: str) -> None:
    given = args(runs, "fit", "run", "trainer.max_steps=1", *(flag.format(corpus=runs.corpus) for flag in flags))
    with one_line(given) as status:
        main(given)
    assert status.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"semalign: error: {answer}")


def test_a_checkpoint_of_another_stage_or_encoder_is_refused(runs: Runs, tokenizer, tmp_path) -> None:
    saved = runs.folder / "run" / "step=1.ckpt"
    runs("fit", "sft", "run", "trainer.max_steps=1", callbacks=[runs.checkpoints("run", 1)])
    with pytest.raises(
        ValueError, match="stage 'sft', and the run is stage 'embedder'.*--model.init_args.base RUN/enc"
    ):
        main(args(runs, "fit", "other", "trainer.max_steps=2", f"ckpt_path={saved}"))


def test_predict_is_refused(runs: Runs) -> None:
    with pytest.raises(ValueError, match="an encoder writes no text; use `semalign test`"):
        main(args(runs, "predict", "run"))

"""The embedder from the command line: learning, output, resuming, and messages about mistakes."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from helpers.pairs import PAIRS
from helpers.small_runs import Runs, assert_same
from torch.nn import functional as F

from semalign_pl.cli import main
from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.messages.errors import one_line
from semalign_pl.run.overview import read_state


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
    path, root = runs.write(recipe, f"{name}-{command}"), f"trainer.default_root_dir={runs.folder / name}"
    return [command, "--config", str(path), *(f"--{flag}" for flag in (root, *flags))]


def test_fit_and_test_through_the_command_line(runs: Runs, capsys) -> None:
    """After training, the two sides of the pairs retrieve each other; the output folder is a SentenceTransformer."""
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
        assert set(score) == {"value", "ci", "signature", "items", "formula"} and score["items"] is None
        assert "|encoder:encoder@" in score["signature"]
    assert after["alignment"]["signature"] != before["alignment"]["signature"]
    assert runs.results()["run"]["versions"]["sentence-transformers"] and runs.results()["run"]["seed"] == 3
    assert runs.results("before")["run"]["trained"] is None and runs.results("run")["run"]["trained"]["stage"]
    assert read_state(runs.folder / "run").scores["margin"] == after["margin"]["value"]
    main(args(runs, "test", "run"))
    assert not read_state(runs.folder / "run").scores, "those of the encoder that the training started from"
    assert "accuracy_at_1_source_to_target" in capsys.readouterr().out

    logged = [row for row in runs.metrics() if row["val/margin"]]
    assert len(logged) == 2 and all(row[f"val/{name}"] for row in logged for name in after)
    text = PAIRS[0]["bo"]
    vector = SentenceTransformer(str(folder), device="cpu").encode(text, normalize_embeddings=True)
    torch.testing.assert_close(SentenceEncoder(folder).encode([text])[0], torch.from_numpy(vector))
    assert not (runs.folder / "run" / "adapter").exists() and not (folder / "README.md").exists()


def test_interrupted_and_resumed_equals_straight(runs: Runs) -> None:
    """Three batches per epoch, step 4 is within the second: its hard negatives are read from the checkpoint."""
    options = ["trainer.max_epochs=3", "model.init_args.hard_negatives=1", "model.init_args.hard_negative_margin=0"]
    kept = json.dumps([runs.checkpoints("straight", 4)])
    straight = main(args(runs, "fit", "straight", *options, f"trainer.callbacks={kept}"))
    assert straight.trainer.global_step == 9
    saved = runs.folder / "straight" / "step=4.ckpt"
    assert any(torch.load(saved, weights_only=True)["semalign"]["negatives"])
    resumed = main(args(runs, "fit", "resumed", *options, f"ckpt_path={saved}"))
    assert_same(dict(resumed.model.state_dict()), dict(straight.model.state_dict()))
    steps = [[row for row in runs.metrics(name) if row["train/loss"]] for name in ("straight", "resumed")]
    assert [row["train/loss"] for row in steps[0]][4:] == [row["train/loss"] for row in steps[1]]
    assert any(float(row["train/hard_negatives"]) > 0 for row in steps[0])


def test_an_encoder_of_transformers_gets_mean_pooling(runs: Runs, still, tmp_path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(still, folder, ignore=shutil.ignore_patterns("modules.json", "1_*", "*sentence*"))
    flags = [f"model.init_args.base={folder}", "model.init_args.max_seq_length=12", "trainer.max_steps=1"]
    cli = main(args(runs, "fit", "run", *flags))
    encoder = cli.model.encoder
    inputs = encoder.preprocess([PAIRS[0]["bo"], PAIRS[1]["zh"][:3]])
    encoder.eval()
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    assert ids.shape[1] == 12
    states = encoder[0].model(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(encoder(dict(inputs))["sentence_embedding"], F.normalize(mean, dim=-1))
    assert float(runs.metrics()[0]["train/texts_at_max_seq_length"]) >= 0.5
    assert SentenceEncoder(runs.folder / "run" / "encoder").encode(["书"]).norm().item() == pytest.approx(1)


@pytest.mark.slow
def test_two_processes_train_and_test_as_one(runs: Runs, still) -> None:
    """The pairs of both processes are compared together, and each process embeds its share of the texts."""
    from sentence_transformers import SentenceTransformer

    options = [f"model.init_args.base={still}", "model.init_args.micro_batch=5", "trainer.max_steps=3"]
    options += ["model.init_args.hard_negatives=1", "model.init_args.hard_negative_margin=0"]
    # Adam would turn the rounding error of a gradient near zero into a full step.
    options += ["model.init_args.optimizer=torch.optim.SGD", "model.init_args.optimizer.init_args.lr=0.5"]
    both = ["trainer.devices=2", "trainer.strategy=ddp"]

    def run(command: str, name: str, *flags: str) -> None:
        for code, log in runs.processes(args(runs, command, name, *flags), ranks=1 + (name == "two")):
            assert code == 0, log

    run("fit", "one", *options, "data.init_args.batch_size=8")
    run("fit", "two", *options, "data.init_args.batch_size=4", *both)
    folders = [str(runs.folder / name / "encoder") for name in ("one", "two")]
    one, two = (SentenceTransformer(folder, device="cpu").state_dict() for folder in folders)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=2e-5)
    for a, b in zip(runs.metrics("one"), runs.metrics("two"), strict=True):
        for name in ("train/loss", "train/grad_norm", "train/hard_negatives", "train/texts_at_max_seq_length"):
            assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-4)
    run("test", "one", f"model.init_args.base={folders[0]}")
    run("test", "two", f"model.init_args.base={folders[0]}", *both)
    for name, score in runs.results("one")["metrics"].items():
        other = runs.results("two")["metrics"][name]
        assert other["value"] == pytest.approx(score["value"], abs=1e-6) and other["signature"] == score["signature"]


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


def test_a_checkpoint_of_another_stage_is_refused(runs: Runs) -> None:
    saved = runs.folder / "run" / "step=1.ckpt"
    runs("fit", "sft", "run", "trainer.max_steps=1", callbacks=[runs.checkpoints("run", 1)])
    with pytest.raises(
        ValueError, match="stage 'sft', and the run is stage 'embedder'.*--model.init_args.base RUN/enc"
    ):
        main(args(runs, "fit", "other", "trainer.max_steps=2", f"ckpt_path={saved}"))


def test_predict_is_refused(runs: Runs) -> None:
    with pytest.raises(ValueError, match="an encoder writes no text; use `semalign test`"):
        main(args(runs, "predict", "run"))

"""Inputs of a study's step: one byte is changed in a file of each kind, and the steps that run again are checked."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from semalign_pl.messages.errors import UsageError
from semalign_pl.run.digests import REMEMBERED_BYTES, SETTLED_SECONDS, Digests
from semalign_pl.run.grounds import Grounds, changes
from semalign_pl.run.named_files import find_files
from semalign_pl.study.grounds import collect, parse
from semalign_pl.study.protocol import Step
from semalign_pl.study.record import is_old, record_file, reuse, write

LANGUAGE = "code: xx\nlike: bo\nname: Mine\n"
OWN = """
from mine import scale
from semalign_pl.rewards import LanguageReward


class Brief(LanguageReward):
    pass  # the end"""
TEXT = json.dumps({"zh": "文", "bo": "བོད"}) + "\n"
FILES = {
    "base/config.json": "{}",
    "base/chat_template.jinja": "{{ messages }}",
    "encoder/deep/model.txt": "weights",
    "train.jsonl": TEXT,
    "mix/a.csv": "zh,bo\n1,2\n",
    "mix/b.csv": "zh,bo\n3,4\n",
    "pair.zh": "文\n",
    "pair.bo": "བོད\n",
    "saved/data.txt": "as save_to_disk writes",
    "book.zip": "PK",
    "test.jsonl": TEXT,
    "valid.jsonl": TEXT,
    "valid-labels.lst": "0\n",
    "judge/model.safetensors": "weights",
    "against.json": "{}",
    "probe.txt": "text",
    "probe_in_training.txt": "text",
    "language.yaml": LANGUAGE,
    "my_own_rewards.py": OWN,
    "mine/__init__.py": "# the end",
    "mine/scale.py": "import json\nfrom .deep.numbers import ONE\nfrom . import other  # the end",
    "mine/other.py": "import my_own_rewards  # the end",
    "mine/deep/numbers.py": "from ..third import THREE as ONE  # the end",
    "mine/third.py": "THREE = 3  # the end",
    "out/seed-0/cold/adapter/adapter_model.safetensors": "weights",
    "out/seed-0/cold/adapter/training.json": '{"steps": 3, "finished": "yesterday"}',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with a file of each kind, and a recipe that names them all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    recipe = {
        "trainer": {
            "max_steps": 1,
            "callbacks": [
                {"class_path": "my_own_rewards.Brief", "init_args": {"language": "language.yaml"}},
                {"class_path": "SemanticReward", "init_args": {"encoder": "encoder"}},
                {"class_path": "JudgeReward", "init_args": {"judge": "local:judge"}},
                {"class_path": "MultipleChoiceProbe", "init_args": {"file": "valid.jsonl"}},
                {"class_path": "DriftProbe", "init_args": {"file": "probe.txt"}},
                {"class_path": "DriftProbe", "init_args": {"file": "probe_in_training.txt", "every_n_steps": 5}},
            ],
        },
        "model": {"class_path": "GRPOModule", "init_args": {"base": "base"}},
        "data": {
            "class_path": "CorpusDataModule",
            "init_args": {
                "train": ["train.jsonl", "mix/*.csv", "pair.{zh,bo}", "saved:default@train", "book.zip#a.tsv"],
                "test": "test.jsonl",
                "prepare": {"against": ["against.json"], "decontaminate": False},
            },
        },
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return tmp_path


def step(command: str, system: str = "cold") -> Step:
    adapter = None if (command, system) == ("fit", "cold") or system == "base" else Path("out/seed-0/cold/adapter")
    return Step(command, system, 0, Path("recipe.yaml"), Path("out/seed-0") / system, adapter)


STEPS = [step("test", "base"), step("fit"), step("test"), step("fit", "next")]


@cache
def settings(args: tuple[str, ...], recipe: str) -> Mapping[str, Any]:
    """Result of `parse` for a recipe; cached, as it takes a second and depends on nothing else."""
    assert Path("recipe.yaml").read_text(encoding="utf-8") == recipe
    return parse(args)


def grounds(steps: Sequence[Step] = STEPS) -> list[Grounds]:
    digests, recipe = Digests(Path("out/digests.json")), Path("recipe.yaml").read_text(encoding="utf-8")
    return [collect(one, settings(one.args, recipe), digests) for one in steps]


def add_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def flip_byte_and_restore_times(path: Path) -> None:
    """Write other content of the same size, and restore the file's times of access and modification."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


ALL, FITS = ["test base", "fit cold", "test cold", "fit next"], ["fit cold", "fit next"]
READERS = {
    **dict.fromkeys(("base/config.json", "base/chat_template.jinja", "encoder/deep/model.txt"), ALL),
    "judge/model.safetensors": ALL,
    **dict.fromkeys(("train.jsonl", "mix/a.csv", "mix/b.csv", "pair.zh", "pair.bo", "saved/data.txt"), FITS),
    "book.zip": FITS,
    "test.jsonl": ["test base", "test cold"],
    **dict.fromkeys(("probe.txt", "valid.jsonl", "valid-labels.lst"), ["test base", "test cold"]),
    **dict.fromkeys(("against.json", "probe_in_training.txt", "language.yaml", "my_own_rewards.py"), ALL),
    **dict.fromkeys((f"mine/{name}.py" for name in ("__init__", "scale", "other", "deep/numbers", "third")), ALL),
    "out/seed-0/cold/adapter/adapter_model.safetensors": ["test cold", "fit next"],
}


def test_a_fit_depends_on_probes_that_its_validation_runs(folder) -> None:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    score = {"class_path": "FrontierScore", "init_args": {"prices": {"nll_change_mean": 20.0}}}
    for callbacks, read in ((recipe["trainer"]["callbacks"], False), ([*recipe["trainer"]["callbacks"], score], True)):
        recipe["trainer"]["callbacks"] = callbacks
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        [fit] = grounds([step("fit")])
        assert ("file probe.txt" in fit) is read


def test_one_byte_of_any_file_is_noticed_by_the_steps_that_read_it(folder) -> None:
    before = grounds()
    assert before == grounds()
    for name, readers in READERS.items():
        for change in (add_byte, flip_byte_and_restore_times):
            change(folder / name)
            after = grounds()
            said = [changes(then, now) for then, now in zip(before, after, strict=True)]
            shown = name.replace("out/seed-0/cold/adapter/", "adapter ")
            assert said == [f"{shown} changed" if one.name in readers else "" for one in STEPS], (name, change)
            before = after


def test_every_file_of_the_recipe_is_in_the_test_above() -> None:
    assert set(FILES) - set(READERS) == {"out/seed-0/cold/adapter/training.json"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda recipe: recipe["trainer"].update(max_steps=2), "trainer.max_steps is 2 and was 1"),
        (lambda recipe: recipe["trainer"].update(precision="bf16-mixed"), 'trainer.precision is "bf16-mixed" and was'),
        (lambda recipe: recipe["model"]["init_args"].update(beta=0.5), "model.init_args.beta is 0.5 and was 0.0"),
        (
            lambda recipe: recipe["model"]["init_args"].update(base="other"),
            'model.init_args.base is "other" and was "base"',
        ),
    ],
)
def test_a_setting_is_named_with_both_values(folder, change, said) -> None:
    shutil.copytree("base", "other")
    [before] = grounds(STEPS[1:2])
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    change(recipe)
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert said in changes(before, grounds(STEPS[1:2])[0])


def unchanged_comment() -> None:
    Path("recipe.yaml").write_text(f"# a comment\n{Path('recipe.yaml').read_text()}", encoding="utf-8")


def unchanged_default() -> None:
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    recipe["data"]["init_args"]["batch_size"] = 32
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")


def unchanged_time() -> None:
    Path("out/seed-0/cold/adapter/training.json").write_text('{"finished": "today", "steps": 3}', encoding="utf-8")


def unchanged_run() -> None:
    Path("out/seed-0/cold/results.json").write_text("{}", encoding="utf-8")
    Path("unrelated.txt").write_text("", encoding="utf-8")


def unchanged_cache() -> None:
    """What a run with a SemanticReward leaves in the working folder."""
    Path(".semalign_cache/embeddings").mkdir(parents=True)
    Path(".semalign_cache/embeddings/1ae63a66.npy").write_bytes(b"vectors")


UNCHANGED = [unchanged_comment, unchanged_default, unchanged_time, unchanged_run, unchanged_cache]


@pytest.mark.parametrize("change", UNCHANGED)
def test_what_changes_no_result_is_no_change(folder, change: Callable[[], None]) -> None:
    before = grounds(STEPS[1:3])
    change()
    assert grounds(STEPS[1:3]) == before


def test_training_rows_that_are_kept_apart_from_the_test_depend_on_it(folder) -> None:
    Path("recipe.yaml").write_text(
        Path("recipe.yaml").read_text().replace("decontaminate: false", "decontaminate: true")
    )
    before = grounds()
    add_byte(folder / "test.jsonl")
    said = [changes(then, now) for then, now in zip(before, grounds(), strict=True)]
    assert said == ["test.jsonl changed"] * len(STEPS)


def test_versions_and_revisions_of_the_hub(folder, monkeypatch) -> None:
    import huggingface_hub.constants

    from semalign_pl.run import grounds as module

    Path("recipe.yaml").write_text(Path("recipe.yaml").read_text().replace("local:judge", "local:me/judge"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    Path("recipe.yaml").write_text(Path("recipe.yaml").read_text().replace("base: base", "base: Qwen/Qwen3-4B"))
    [none] = grounds(STEPS[:1])
    ref = folder / "hub/models--Qwen--Qwen3-4B/refs/main"
    ref.parent.mkdir(parents=True)
    ref.write_text("abc")
    [first] = grounds(STEPS[:1])
    assert module.complete(none, first) == first, "downloaded by the step itself"
    ref.write_text("def")
    assert changes(first, grounds(STEPS[:1])[0]) == "Qwen/Qwen3-4B (models) is def and was abc"
    assert first["version torch"] and first["version semalign-pl"]
    ref.write_text("abc")
    judge = folder / "hub/models--me--judge/refs/main"
    judge.parent.mkdir(parents=True)
    judge.write_text("012")
    assert changes(first, grounds(STEPS[:1])[0]) == "me/judge (models) is 012 and was not set"


def test_versions_of_packages_that_compute_scores(folder) -> None:
    """A record without the version of a package, which an earlier version did not write, still counts."""
    names = ("sacrebleu", "rouge-score", "nltk", "regex")
    [now] = grounds(STEPS[:1])
    assert all(now[f"version {name}"] for name in names)
    former = {name: value for name, value in now.items() if name not in {f"version {one}" for one in names}}
    assert changes(former, now) == "" and changes(now, former) == ""
    assert changes({**now, "version sacrebleu": "1.0"}, now) == f"sacrebleu is {now['version sacrebleu']} and was 1.0"


def test_a_package_of_an_extra_counts_if_it_is_installed(monkeypatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from semalign_pl.run import results

    def version(name: str) -> str:
        if name == "lm-eval":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(results, "version", version)
    found = results.versions.__wrapped__()
    assert "lm-eval" not in found and {"langdetect", "fasttext-predict", "torch"} <= found.keys()


def test_a_config_that_cannot_be_parsed_is_a_usage_error(folder) -> None:
    Path("recipe.yaml").write_text("modle: 1\n", encoding="utf-8")
    with pytest.raises(UsageError):
        grounds()


@pytest.mark.parametrize(
    "value", ["", ".", "/", "fp32", "torch.optim.AdamW", "no/such/file", "a\0b", "x" * 5000, "[", "**"]
)
def test_text_that_is_no_path_names_no_file(folder, value) -> None:
    if value in (".", "/", "**"):  # the content of these changes with every run
        from semalign_pl.run.named_files import holds_results

        assert holds_results(value, Path("out")) or value == "**"
    else:
        assert find_files(value) == []


def big(folder: Path) -> Path:
    """File whose digest is cached, changed long enough ago."""
    file = folder / "big.bin"
    file.write_bytes(bytes(REMEMBERED_BYTES))
    time.sleep(SETTLED_SECONDS + 0.1)
    return file


def test_a_large_file_is_read_once_and_again_when_it_changes(tmp_path) -> None:
    file, kept = big(tmp_path), tmp_path / "digests.json"
    first = Digests(kept).of(file)
    remembered = json.loads(kept.read_text())
    assert [one[-1] for one in remembered.values()] == [first]
    marked = {name: [*one[:-1], "0" * 64] for name, one in remembered.items()}
    kept.write_text(json.dumps(marked))
    assert Digests(kept).of(file) == "0" * 64, "it was read again although nothing changed"
    flip_byte_and_restore_times(file)
    assert Digests(kept).of(file) not in (first, "0" * 64)
    for damaged in ("", "[", "[]", '{"a": 1}', json.dumps(dict.fromkeys(remembered, [1, 2, 3, 4, 5]))):
        kept.write_text(damaged)
        assert Digests(kept).of(file) not in (first, "0" * 64)


# -- records -------------------------------------------------------------------------------------------------------


@pytest.fixture
def done(folder) -> Callable[[], tuple[Any, str]]:
    """A test step that was run and recorded; the function tells if it is reused."""
    one = step("test")
    (one.folder / "results.json").write_text('{"metrics": {}}')
    (one.folder / "predictions.jsonl").write_text("{}\n")
    (one.folder / "items.jsonl").write_text("{}\n")
    made = {"file a": "1"}
    write(one, made, 12.5, Digests(Path("out/digests.json")))
    return lambda: reuse(one, made, Digests(Path("out/digests.json")))


def test_a_good_record_is_reused(done) -> None:
    assert done()[0].seconds == 12.5


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "3", "null", "{}", "\xff", "[" * 90000,
        '{"grounds": {}, "wrote": {}}',
        '{"grounds": {}, "wrote": {}, "seconds": "x"}',
        '{"grounds": 3, "wrote": {}, "seconds": 1}',
        '{"grounds": {"a": 3}, "wrote": {}, "seconds": 1}',
        '{"grounds": {}, "wrote": [], "seconds": 1}',
        '{"grounds": {}, "wrote": {}, "seconds": NaN}',
    ],
)  # fmt: skip
def test_a_damaged_record_is_redone_with_a_line(done, content) -> None:
    record_file(step("test")).write_bytes(content.encode("latin-1"))
    assert done() == (None, "out/seed-0/cold/test.done.json is damaged")
    assert not is_old(step("test"))


def test_a_record_of_an_earlier_version_is_known_as_such(done) -> None:
    record_file(step("test")).write_text('{"fingerprint": "abc", "seconds": 3.0}')
    assert is_old(step("test")) and done()[0] is None


@pytest.mark.parametrize("name", ["results.json", "predictions.jsonl", "items.jsonl"])
def test_a_result_that_is_cut_or_gone_is_made_again(done, name) -> None:
    (step("test").folder / name).write_text("{")
    assert done() == (None, f"of what it wrote, {name} changed")
    (step("test").folder / name).unlink()
    assert done() == (None, f"of what it wrote, {name} is gone")


def test_a_fit_without_its_adapter_is_run_again(folder) -> None:
    one, digests = step("fit"), Digests(Path("out/digests.json"))
    write(one, {}, 1.0, digests)
    assert reuse(one, {}, digests)[0] is not None
    shutil.rmtree(one.folder / "adapter")
    assert reuse(one, {}, digests) == (
        None,
        "of what it wrote, adapter adapter_model.safetensors is gone, adapter training.json is gone",
    )


def test_a_fit_whose_kept_step_changed_is_run_again(folder) -> None:
    one, digests = step("fit"), Digests(Path("out/digests.json"))
    kept = one.folder / "steps" / "step-000040" / "adapter_model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("weights")
    write(one, {}, 1.0, digests)
    assert reuse(one, {}, digests)[0] is not None
    kept.write_text("other")
    changed = "of what it wrote, adapter steps/step-000040/adapter_model.safetensors changed"
    assert reuse(one, {}, digests) == (None, changed)

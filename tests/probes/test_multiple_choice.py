"""Multiple-choice probe: its files, its prompts, and its scores against plain forwards and lm-evaluation-harness."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import CPU, plain_logps, stir

from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.probes import MultipleChoiceProbe

CMMLU = ",Question,A,B,C,D,Answer\n0,谁在学校？ ,老师,学生,山,水,B\n1,哪里有水？,山上,家,河里,书,C\n"
CEVAL = "id,question,A,B,C,D,answer,explanation\n0,谁在学校？,老师,学生,山,水,B,\n1,哪里有水？,山上,家,河里,书,C,因为\n"
C3 = [
    [
        ["女：你在哪里？", "男：在学校。"],
        [{"question": "他在哪里？", "choice": ["家", "学校"], "answer": "学校"}],
        "1",
    ],
    [["男：吃饭吗？"], [{"question": "说什么？", "choice": ["吃饭", "看书"], "answer": "吃饭"}] * 2, "2"],
]
ARC = {
    "id": "Mercury_7",
    "question": {"stem": "What is wet?", "choices": [{"text": "fire", "label": "A"}, {"text": "water", "label": "B"}]},
    "answerKey": "B",
}
ARC_HUB = {
    "id": "Mercury_7",
    "question": "What is wet?",
    "choices": {"text": ["fire", "water"], "label": ["1", "2"]},
    "answerKey": "2",
}
HELLASWAG = {
    "ind": 4,
    "activity_label": "Cooking",
    "ctx_a": "A man cooks. [header] Soup [title] Boil  water.",
    "ctx_b": "he",
    "ctx": "A man cooks. He",
    "endings": ["eats it. [step] Now", "runs", "sleeps", "sings"],
    "label": 2,
}
PIQA = {"goal": "Boil water", "sol1": "use a pot", "sol2": "use a sock", "label": 0}
BELEBELE = {
    "link": "https://en.wikibooks.org/wiki/x",
    "question_number": 1,
    "flores_passage": "老师在学校。",
    "question": "谁在学校？ ",
    **{f"mc_answer{number}": text for number, text in enumerate(("老师", "学生", "山", "水"), start=1)},
    "correct_answer_num": "1",
    "dialect": "zho_Hans",
}
OWN = {"context": "བོད་ཡིག", "question": "གང་ཡིན", "options": ["ཀ", "ཁ", "ག"], "answer": "ཁ"}


def write(path: Path, content: Any) -> str:
    """File with text, with one JSON document, or with one JSON object per line if it is given as a tuple."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    if isinstance(content, tuple):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def policy(base: str) -> Policy:
    return stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.2), None, CPU), seed=1)


LETTERED = "谁在学校？\nA. 老师\nB. 学生\nC. 山\nD. 水\n答案："


@pytest.mark.parametrize(
    ("name", "content", "layout", "context", "continuations", "answer"),
    [
        ("q.csv", CMMLU, "cmmlu", LETTERED, [" A", " B", " C", " D"], 1),
        ("q.csv", CEVAL, "ceval", LETTERED, [" A", " B", " C", " D"], 1),
        ("q.json", C3, "c3", "女：你在哪里？\n男：在学校。\n问：他在哪里？\n答：", ["家", "学校"], 1),
        ("q.jsonl", (ARC,), "arc", "Question: What is wet?\nAnswer:", [" fire", " water"], 1),
        ("q.jsonl", (ARC_HUB,), "arc", "Question: What is wet?\nAnswer:", [" fire", " water"], 1),
        (
            "q.jsonl",
            (HELLASWAG,),
            "hellaswag",
            "Cooking: A man cooks. Soup. Boil water. He",
            [" eats it. Now", " runs", " sleeps", " sings"],
            2,
        ),
        ("q.jsonl", (PIQA,), "piqa", "Question: Boil water\nAnswer:", [" use a pot", " use a sock"], 0),
        (
            "q.jsonl",
            (BELEBELE,),
            "belebele",
            "P: 老师在学校。\nQ: 谁在学校？\nA: 老师\nB: 学生\nC: 山\nD: 水\nAnswer:",
            [" A", " B", " C", " D"],
            0,
        ),
        ("q.jsonl", (OWN,), "columns", "བོད་ཡིག\nགང་ཡིན", ["\nཀ", "\nཁ", "\nག"], 1),
    ],
)
def test_layouts_are_recognised(
    tmp_path: Path, name: str, content: Any, layout: str, context: str, continuations: list[str], answer: int
) -> None:
    probe = MultipleChoiceProbe(write(tmp_path / name, content))
    asked = probe.asked[0]
    assert (probe.name, asked.context, list(asked.continuations)) == (layout, context, continuations)
    assert asked.question.answer == answer
    assert asked.question.id == {".csv": "q.csv:2", ".json": "q.json:1.1", ".jsonl": "q.jsonl:1"}[Path(name).suffix]


def test_every_row_of_every_file_is_asked(tmp_path: Path) -> None:
    for subject in ("law", "art"):
        write(tmp_path / "test" / f"{subject}.csv", CMMLU)
    probe = MultipleChoiceProbe(str(tmp_path / "test" / "*.csv"))
    assert [asked.question.id for asked in probe.asked] == ["art.csv:2", "art.csv:3", "law.csv:2", "law.csv:3"]
    assert len(MultipleChoiceProbe(write(tmp_path / "c3.json", C3)).asked) == 3
    piqa = {key: value for key, value in PIQA.items() if key != "label"}
    file = write(tmp_path / "valid.jsonl", (piqa, piqa))
    write(tmp_path / "valid-labels.lst", "0\n1\n")
    assert [asked.question.answer for asked in MultipleChoiceProbe(file).asked] == [0, 1]


@pytest.mark.parametrize(
    ("row", "columns", "answer"),
    [
        ({"q": "x", "o": ["a", "b"], "g": 1}, {"options": "o"}, 1),
        ({"q": "x", "o": ["a", "b"], "g": "0"}, {"options": "o"}, 0),
        ({"q": "x", "o": ["3", "1"], "g": 1}, {"options": "o"}, 1),  # a number is an index
        ({"q": "x", "o": [4, 7], "g": 7}, {"options": "o"}, 1),  # or an option that is a number
        ({"q": "x", "o": [0, 1], "g": 1}, {"options": "o"}, 1),
        ({"q": "x", "one": 2.5, "two": 7, "g": 2.5}, {"options": ["one", "two"]}, 0),
        ({"q": "x", "o": ["cat", "dog"], "g": "B"}, {"options": "o"}, 1),
        ({"q": "x", "o": ["cat", "dog"], "g": "dog"}, {"options": "o"}, 1),
        ({"q": "x", "one": "a", "two": "b", "g": "A"}, {"options": ["one", "two"]}, 0),
    ],
)
def test_columns_of_the_users_own(tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], answer: int) -> None:
    file = write(tmp_path / "own.jsonl", (row,))
    probe = MultipleChoiceProbe(file, columns={"question": "q", "answer": "g", **columns}, name="own")
    assert probe.asked[0].question.answer == answer and probe.name == "own"


@pytest.mark.parametrize(
    ("name", "content", "options", "wanted"),
    [
        ("q.csv", "a,b\n1,2\n", {}, ":2: the fields a, b are of no known layout (cmmlu, ceval, c3, arc, "),
        ("q.csv", CMMLU, {"layout": "ceval"}, ":2: answer: there is no such field; layout ceval needs A, B, C, D, "),
        ("q.csv", CMMLU.replace(",C\n", ",\n"), {}, ":3: Answer: '' is none of A, B, C, D; test splits are often"),
        ("q.csv", CMMLU.replace("河里", ""), {}, ":3: C: it is '', and a text is wanted; fill it in"),
        ("q.csv", CMMLU.replace("山上,", ""), {}, ":3: 6 cells under a header of 7; put quotes around"),
        ("q.json", [C3[0], ["x"]], {}, ":2: is not [turns, questions, id], as in C3; mend or drop it"),
        ("q.json", [C3[0], [["x"], ["y"]]], {}, ":2.1: 'y' is no question"),
        ("q.jsonl", ({**ARC_HUB, "choices": "x"},), {}, ":1: choices: 'x' has no texts and labels"),
        ("q.jsonl", ({**ARC_HUB, "answerKey": "C"},), {}, ":1: answerKey: 'C' is none of 1, 2;"),
        ("q.jsonl", ({**HELLASWAG, "endings": ["x"]},), {}, ":1: endings: ['x'] is not a list of two or more options"),
        ("q.jsonl", (OWN, {**OWN, "answer": "ང"}), {}, ":2: answer: 'ང' is no option: no text, letter or index from 0"),
        ("q.jsonl", ({**OWN, "options": ["B", "C"], "answer": "B"},), {}, ":1: answer: 'B' means several options; "),
        ("q.jsonl", ({**OWN, "options": [3, 4, 1], "answer": 1},), {}, ":1: answer: '1' means several options; "),
        ("q.jsonl", ({**OWN, "options": ["3", "4"], "answer": 4},), {}, ":1: answer: '4' is no option: no text, "),
        ("q.jsonl", ({**OWN, "answer": True},), {}, ":1: answer: it is True, and a text is wanted"),
        ("q.jsonl", (), {}, ": there is no question in it"),
        ("q.txt", "谁？\n", {}, ": a text file has no options; give .csv"),
        ("q.csv", CMMLU, {"num_examples": 3}, "num_examples: 3 are wanted, and "),
        ("q.csv", CMMLU, {"num_examples": 2}, "num_examples: 2 leave no question of "),
        ("q.csv", CMMLU, {"examples": "x.csv"}, "num_examples: 0; give the number of examples per prompt"),
        ("q.csv", CMMLU, {"prompt": "{answer}"}, "prompt: '{answer}' has no {question}"),
        ("q.csv", CMMLU, {"prompt": "{question}: {answer} "}, "does not end in {answer}"),
        ("q.csv", CMMLU, {"prompt": "{question}: {answer}"}, "asks for a letter and shows no options; add {options}"),
        (
            "q.csv",
            CMMLU,
            {"prompt": "{question} {A} {E} {answer}"},
            "4 options, and the prompt has {E}; write ",
        ),
        ("q.csv", CMMLU, {"limit": 0}, "limit: 0 is not a positive whole number"),
        ("q.csv", CMMLU, {"layout": "arc", "columns": {}}, "columns: layout arc has columns of its own"),
        ("q.csv", CMMLU, {"columns": {"question": "Question"}}, "columns: question are named, and question, options,"),
    ],
)
def test_mistakes(tmp_path: Path, name: str, content: Any, options: dict[str, Any], wanted: str) -> None:
    file = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=re.escape(wanted)) as error:
        MultipleChoiceProbe(file, **options)
    message = str(error.value)
    assert "\n" not in message and (message.startswith("MultipleChoiceProbe.") or message.startswith("q.csv:2"))
    if wanted.startswith(":"):
        assert message.startswith(f"MultipleChoiceProbe.file: {file}:")


def test_examples_come_before_every_question(tmp_path: Path) -> None:
    """Of the file of the same subject, in their order; or drawn from the questions, and then not asked."""
    for subject in ("law", "art"):
        write(tmp_path / "val" / f"{subject}_val.csv", CEVAL)
        write(tmp_path / "dev" / f"{subject}_dev.csv", CEVAL.replace("学校", subject))
    examples = str(tmp_path / "dev" / "*.csv")
    probe = MultipleChoiceProbe(
        str(tmp_path / "val" / "*.csv"), num_examples=2, examples=examples, description="考试。\n\n"
    )
    assert len(probe.asked) == 4
    shown = LETTERED.replace("学校", "art") + " B\n\n哪里有水？\nA. 山上\nB. 家\nC. 河里\nD. 书\n答案： C\n\n"
    assert probe.asked[0].context == "考试。\n\n" + shown + LETTERED
    assert "谁在law" in probe.asked[3].context and "谁在art" not in probe.asked[3].context
    # One file of examples serves all.
    one = MultipleChoiceProbe(
        str(tmp_path / "val" / "*.csv"), num_examples=1, examples=str(tmp_path / "dev" / "art_dev.csv")
    )
    assert len({asked.context.partition("\n\n")[0] for asked in one.asked}) == 1
    # Without a file, they are drawn from the questions.
    rows = tuple({**OWN, "question": f"{n}?"} for n in range(20))
    file = write(tmp_path / "own.jsonl", rows)
    drawn = {}
    for seed in (0, 1):
        own = MultipleChoiceProbe(file, num_examples=3, seed=seed)
        texts = {asked.context.rpartition("\n\n")[0] for asked in own.asked}
        assert len(own.asked) == 17 and len(texts) == 1
        drawn[seed] = texts.pop()
        assert {asked.question.question for asked in own.asked}.isdisjoint(re.findall(r"\d+\?", drawn[seed]))
    assert drawn[0] != drawn[1]
    assert [len(MultipleChoiceProbe(file, num_examples=3, limit=n).asked) for n in (5, 100)] == [5, 17]
    # A row that is in the file twice is not asked after its own answer; nor are the rows of a file given twice.
    twice = write(tmp_path / "twice.jsonl", rows[:2] * 2)
    assert [len(MultipleChoiceProbe(twice, num_examples=1, examples=given).asked) for given in (None, twice)] == [2, 2]
    write(tmp_path / "dev" / "art_val.csv", CEVAL)
    with pytest.raises(ValueError, match="examples: .* has several files for art; name those of one split"):
        MultipleChoiceProbe(str(tmp_path / "val" / "*.csv"), num_examples=1, examples=examples)
    (tmp_path / "dev" / "art_val.csv").unlink()
    (tmp_path / "dev" / "law_dev.csv").unlink()
    write(tmp_path / "dev" / "tax_dev.csv", CEVAL)
    with pytest.raises(ValueError, match=r"examples: .* has no file for law, such as law_dev.csv"):
        MultipleChoiceProbe(str(tmp_path / "val" / "*.csv"), num_examples=1, examples=examples)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Twelve questions with options of several lengths."""
    words = ["老师", "学生在家", "山", "我们去学校看书", "水", "饭", "他们在山上", "书"]
    rows = [
        {
            "context": "老师在学校看书。" * (1 + n % 3),
            "question": f"谁{words[n % 8]}？",
            "options": [words[(n + k) % 8] for k in range(2 + n % 3)],
            "answer": n % 2,
        }
        for n in range(12)
    ]
    return write(tmp_path / "choices.jsonl", tuple(rows))


@pytest.mark.parametrize("options", [{}, {"num_examples": 2}, {"chat": True}, {"max_prompt_tokens": 5}])
def test_scores_against_plain_forwards(policy: Policy, file: str, options: dict[str, Any]) -> None:
    probe = MultipleChoiceProbe(file, **options)
    measurement = probe.measure(policy)
    right, right_norm = [], []
    encoder = policy.encoder
    policy.eval()
    for asked, item in zip(probe.asked, measurement.items, strict=True):
        own = [text.lstrip() for text in asked.continuations]
        if probe.chat:
            prompt = encoder.encode_prompt(asked.context, 10**6)
            completions = [encoder.encode_completion(text)[:-1] for text in own]
        else:
            prompt = encoder.tokenizer(asked.context)["input_ids"][-probe.max_prompt_tokens :]
            completions = [encoder.tokenizer(text)["input_ids"] for text in asked.continuations]
        logps = [plain_logps(policy.model, prompt, ids).sum().item() for ids in completions]
        best = max(range(len(own)), key=logps.__getitem__)
        norm = max(range(len(own)), key=lambda k: logps[k] / len(own[k]))
        right.append(best == asked.question.answer)
        right_norm.append(norm == asked.question.answer)
        assert (item.set, item.id, item.text) == ("columns", asked.question.id, own[best])
    assert {item.statistics["columns_accuracy"][0] for item in measurement.items} <= {0.0, 100.0}
    scores = {name: score.value for name, score in measurement.scores.items()}
    count = len(right) / 100
    assert scores == pytest.approx(
        {"columns_accuracy": sum(right) / count, "columns_accuracy_norm": sum(right_norm) / count}
    )
    signature = measurement.scores["columns_accuracy_norm"].signature
    assert signature.startswith(f"accuracy_norm|questions:{len(right)}|seed:0|layout:columns|options:text|")
    assert (f"|cut:{len(right)}|" in signature) == ("max_prompt_tokens" in options)
    again = probe.measure(policy)  # with the token ids of the first measurement
    assert again == measurement


def test_options_that_are_whole_texts_follow_the_end_of_text(policy: Policy, tmp_path: Path) -> None:
    """As BLiMP's sentences. The tokenizer has no BOS, so lm-evaluation-harness starts them with EOS."""
    rows = tuple(
        {"kind": "k", "good": f"{word}在学校看书", "bad": f"书看在{word}"} for word in ("老师", "学生", "我们")
    )
    columns = {"question": "kind", "options": ["good", "bad"], "answer": "good"}
    probe = MultipleChoiceProbe(write(tmp_path / "pairs.jsonl", rows), columns=columns, prompt="{answer}")
    tokenizer, right = policy.encoder.tokenizer, []
    assert tokenizer.bos_token_id is None
    for row in rows:
        ids = [tokenizer(row[name])["input_ids"] for name in ("good", "bad")]
        good, bad = (plain_logps(policy.eval().model, [tokenizer.eos_token_id], one).sum() for one in ids)
        right.append(100.0 * bool(good >= bad))
    assert [item.statistics["columns_accuracy"][0] for item in probe.measure(policy).items] == right


def test_letters_have_one_accuracy(policy: Policy, file: str) -> None:
    probe = MultipleChoiceProbe(file, options="letters", prompt="{context}\n{question}\n{options}\n{answer}")
    assert probe.asked[1].context.endswith("\nA. 学生在家\nB. 山\nC. 我们去学校看书")
    measurement = probe.measure(policy)
    assert set(measurement.scores) == {"columns_accuracy"}
    assert {item.text for item in measurement.items} <= {"A", "B", "C", "D"}


@pytest.mark.parametrize("layout", ["letters", "text"])
def test_accuracy_equals_that_of_lm_evaluation_harness(
    base: str, policy: Policy, tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same items, examples and templates, with the harness's own model class and task class."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    evaluator: Any = pytest.importorskip("lm_eval.evaluator")
    tasks: Any = pytest.importorskip("lm_eval.api.task")
    models: Any = pytest.importorskip("lm_eval.models.huggingface")
    words = ["老师", "学生在家", "山", "我们去学校看书", "水", "饭", "他们在山上", "书"]
    if layout == "letters":
        header = "id,question,A,B,C,D,answer\n"
        lines = [f"{n},谁在{words[n % 7]}？,{','.join(words[n % 5 : n % 5 + 4])},{'ABCD'[n % 4]}\n" for n in range(30)]
        test, dev = (write(tmp_path / f"{name}.csv", header + "".join(part)) for name, part in
                     (("test", lines[3:]), ("dev", lines[:3])))  # fmt: skip
        config = {
            "doc_to_text": "{{question.strip()}}\nA. {{A}}\nB. {{B}}\nC. {{C}}\nD. {{D}}\n答案：",
            "doc_to_choice": ["A", "B", "C", "D"],
            "doc_to_target": "{{['A', 'B', 'C', 'D'].index(answer)}}",
        }
    else:
        rows = [
            {
                "question": f"谁在{words[n % 7]}？",
                "choices": {"text": words[n % 5 : n % 5 + 3], "label": ["A", "B", "C"]},
                "answerKey": "ABC"[n % 3],
            }
            for n in range(30)
        ]
        test, dev = (write(tmp_path / f"{name}.jsonl", tuple(part)) for name, part in
                     (("test", rows[3:]), ("dev", rows[:3])))  # fmt: skip
        config = {
            "doc_to_text": "Question: {{question}}\nAnswer:",
            "doc_to_choice": "{{choices.text}}",
            "doc_to_target": "{{choices.label.index(answerKey)}}",
        }
    task = tasks.ConfigurableTask(
        config={
            "task": "local",
            "dataset_path": "csv" if layout == "letters" else "json",
            "dataset_kwargs": {"data_files": {"test": test, "dev": dev}},
            "test_split": "test",
            "fewshot_split": "dev",
            "fewshot_config": {"sampler": "first_n"},
            "num_fewshot": 3,
            "output_type": "multiple_choice",
            "metric_list": [{"metric": name, "aggregation": "mean"} for name in ("acc", "acc_norm")],
            **config,
        }
    )
    policy.eval()
    model = models.HFLM(pretrained=policy.causal_lm, tokenizer=policy.encoder.tokenizer, batch_size=4)
    # Not by `simple_evaluate`, which first spends seconds on a description of the machine.
    output = evaluator.evaluate(model, {"local": task}, bootstrap_iters=0)
    theirs = output["results"]["local"]
    measurement = MultipleChoiceProbe(test, num_examples=3, examples=dev, name="ours").measure(policy)
    ours = {name: score.value / 100 for name, score in measurement.scores.items()}
    assert ours["ours_accuracy"] == pytest.approx(theirs["acc,none"]) and 0 < ours["ours_accuracy"] < 1
    if layout == "text":
        assert ours["ours_accuracy_norm"] == pytest.approx(theirs["acc_norm,none"])
    # Item by item, so that equal accuracies are no chance.
    samples = sorted(output["samples"]["local"], key=lambda sample: sample["doc_id"])
    assert [float(item.statistics["ours_accuracy"][0] == 100) for item in measurement.items] == [
        sample["acc"] for sample in samples
    ]

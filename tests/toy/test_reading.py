import random

from semalign_pl.toy import generator, mixture, prompt, reading


def test_format_and_spans() -> None:
    squad = reading.reading_comprehension(0, generator.SPLITS["test"], 100)
    ids = []
    assert set(squad) == {"version", "data"}
    for item in squad["data"]:
        for paragraph in item["paragraphs"]:
            assert 1 <= paragraph["context"].count("。") <= 4
            for qa in paragraph["qas"]:
                (answer,) = qa["answers"]
                start = answer["answer_start"]
                assert paragraph["context"][start : start + len(answer["text"])] == answer["text"]
                assert paragraph["context"].count(answer["text"]) == 1
                ids.append(qa["id"])
    assert len(ids) == len(set(ids)) == 100


def test_a_question_fits_one_sentence_only() -> None:
    """Inserted into its question, the answer names the words of exactly one sentence."""
    rng = random.Random(0)
    for _ in range(100):
        item = reading.passage(rng, range(10), 4, 6)
        sentences = item.context.split("。")[:-1]
        for question, answer in item.questions:
            home = [s for s in sentences if answer in s]
            assert len(home) == 1
            asked = set(question[:-1].replace("什么时候", "").replace("什么", "").replace("哪里", "").replace("谁", ""))
            assert asked - set(home[0]) <= {"在"}
            assert all(asked - set(s) - {"在", "了", "要", "去"} for s in sentences if s != home[0])


def test_contexts_are_disjoint_from_what_base_was_trained_on() -> None:
    rng = random.Random("base-0")
    seen = {s for _ in range(500) for s in mixture.reading_turns(rng, 3)[0][0].split("\n")[1][3:].split("。")} - {""}
    held = {
        p["context"]
        for i in reading.reading_comprehension(0, generator.SPLITS["test"], 100)["data"]
        for p in i["paragraphs"]
    }
    assert not seen & {s for context in held for s in context.split("。")}


def test_first_turn_is_the_probes_prompt() -> None:
    (first, _), *_ = mixture.reading_turns(random.Random(0), 1)
    assert first.startswith(prompt.PROMPT.split("{")[0]) and first.count("\n问题：") == 1

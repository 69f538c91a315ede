import random

from semalign_pl.toy import generator, grammar, mixture, prompt
from semalign_pl.toy.generator import CHINESE_FOLDS, SPLITS, TIBETAN_FOLDS
from semalign_pl.toy.grammar import Meaning


def test_one_meaning_in_both_languages() -> None:
    meaning = Meaning("name", "扎西", "读", "书", "text", "两", "图书馆", "昨天")
    assert grammar.chinese(meaning) == "昨天扎西在图书馆里读了两本书。"
    assert grammar.tibetan(meaning) == "ཁ་སང་བཀྲ་ཤིས་ཀྱིས་དཔེ་མཛོད་ཁང་ནས་དཔེ་ཆ་གཉིས་བཀླགས་པ་རེད།"
    assert grammar.tibetan_headline(meaning) == "བཀྲ་ཤིས་ཀྱིས་དཔེ་མཛོད་ཁང་ནས་དཔེ་ཆ་བཀླགས་པ།"


def test_tenses_cases_and_motion() -> None:
    kin = Meaning("kin", "妈妈", "去", place="寺院", time="明天", owner="卓玛")
    assert grammar.chinese(kin) == "明天卓玛的妈妈要去寺院。"
    assert grammar.tibetan(kin) == "སང་ཉིན་སྒྲོལ་མའི་ཨ་མ་དགོན་པར་འགྲོ་གི་རེད།"
    now = Meaning("person", "孩子", "听", "故事", "story", time="现在")
    assert grammar.tibetan(now) == "ད་ལྟ་བྱིས་པས་སྒྲུང་ལ་ཉན་བཞིན་ཡོད།"
    habit = Meaning("animal", "牦牛", "吃", "草", "grass", "绿", "草原", "夏天")
    assert grammar.tibetan(habit) == "དབྱར་ཁ་གཡག་གིས་རྩྭ་ཐང་ནས་རྩྭ་ལྗང་ཁུ་ཟ་གི་ཡོད་པ་རེད།"


def test_shared_slots() -> None:
    one = Meaning("name", "扎西", "读", "书", "text", "新", "家", "昨天")
    assert grammar.shared_slots(one, one) == (6, 6)
    other = Meaning("name", "次仁", "读", "书", "text", "", "家", "昨天")
    assert grammar.shared_slots(one, other) == (4, 6)


def test_neighbour_changes_one_slot() -> None:
    rng = random.Random(0)
    for _ in range(300):
        meaning = generator.draw(rng, range(10))
        shared, filled = grammar.shared_slots(meaning, generator.neighbour(rng, meaning))
        assert filled - shared in (1, 2)  # a number occurs only with a noun


def test_same_seed_same_world() -> None:
    assert generator.pairs(3, "dev", 50) == generator.pairs(3, "dev", 50) != generator.pairs(4, "dev", 50)
    assert generator.headlines(3, "dev", 20) == generator.headlines(3, "dev", 20)


def test_pairs_are_unique_and_splits_disjoint() -> None:
    splits = {split: generator.pairs(0, split, 500) for split in SPLITS}
    for side in ("zh", "bo"):
        texts = [pair[side] for pairs in splits.values() for pair in pairs]
        assert len(set(texts)) == len(texts)


def test_base_never_meets_both_sides_of_a_meaning() -> None:
    assert not set(CHINESE_FOLDS) & set(TIBETAN_FOLDS)
    assert set(CHINESE_FOLDS) | set(TIBETAN_FOLDS) <= set(SPLITS["train"])
    rng = random.Random(0)
    items = [mixture.plain(rng) for _ in range(300)] + [mixture.reading_turns(rng, 2) for _ in range(300)]
    for item in items:
        turns = [item] if isinstance(item, str) else [q + a for q, a in item]
        for text in turns:
            tibetan = any("\u0f40" <= c <= "\u0fbc" for c in text)
            chinese = any("\u4e00" <= c <= "\u9fff" for c in text.replace(prompt.WRITE_TIBETAN, ""))
            assert tibetan != chinese

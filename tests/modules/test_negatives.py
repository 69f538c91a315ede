"""Hard negatives: never a right answer, and the nearest first."""

import torch
from helpers.pairs import PAIRS

from semalign_pl.modules.negatives import HardNegatives, distinct
from semalign_pl.types import Example


def examples(*rows: int) -> list[Example]:
    return [Example(str(i), PAIRS[i]["zh"], PAIRS[i]["bo"], source=PAIRS[i]["zh"]) for i in rows]


BATCH = examples(0, 5, 10, 17, 22, 31, 47)


def test_a_batch_keeps_the_first_of_pairs_that_share_a_text():
    repeated = [
        *BATCH,
        Example("a", "", "གཞན།", source=BATCH[0].source),
        Example("b", "", BATCH[1].reference, source="别的"),
    ]
    assert distinct([*repeated, BATCH[2]]) == BATCH
    assert distinct(repeated[::-1]) == [repeated[8], repeated[7], *BATCH[:1:-1]]


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
        assert mined.nearest[i] == wanted
        some += len(wanted)
    assert some > 10


def test_what_is_right_for_another_pair_of_the_batch_is_no_hard_negative():
    mined = HardNegatives([*BATCH, Example("other", BATCH[0].source, "གཞན།", source=BATCH[0].source)], 3, 0.05)
    mined.nearest = [[1, 7, 4], [7, 2, 5], [5], [], [], [], []]  # 7 is the other right reference of the first source
    assert mined.of(BATCH[:2]) == [BATCH[4].reference, BATCH[2].reference, BATCH[5].reference]
    assert mined.of(BATCH[1:3]) == ["གཞན།", BATCH[5].reference]

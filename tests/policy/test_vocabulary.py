"""Added tokens: shorter text, rows that start as the mean of their pieces, and exact training of only these rows."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers.logprob_oracle import BUDGETS, score
from helpers.small_runs import Runs, assert_same, weights
from helpers.tiny import CPU, relative, stir
from tokenizers import decoders
from torch import Tensor

from semalign_pl.engine.micro_batches import Completions
from semalign_pl.example_data.gguf_model import use_byte_decoder
from semalign_pl.languages import get_language
from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.policy.token_rows import rows_of
from semalign_pl.policy.vocabulary import count_units, find_tokens

TEXTS = [
    "ལྷ་ས་ནི་བོད་ཀྱི་རྒྱལ་ས་ཡིན། ལྷ་ས་ན་ཕོ་བྲང་པོ་ཏ་ལ་ཡོད།",
    "ཁྲིམས་ཀྱི་མདུན་སར་མི་ཚང་མ་འདྲ་མཉམ་ཡིན། ཁྲིམས་ལུགས་ནི་ཚང་མའི་ཡིན།",
    "སློབ་གྲྭ་ན་ཕྲུ་གུ་ཚང་མ་སློབ་སྦྱོང་བྱེད། ཕྲུ་གུ་ཚང་མ་དགའ།",
]
UNSEEN = "གངས་ཅན་ལྷ་སའི་ཁྲིམས་ལུགས། 2024 ལོའི་སློབ་གྲྭ། abc"
CHINESE = "老师在学校里读书，学生在家里写字。2024年。"
LORA = LoraSettings(4, 8, 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> VocabularySettings:
    path = tmp_path / "tibetan.jsonl"
    path.write_text("".join(json.dumps({"bo": text}, ensure_ascii=False) + "\n" for text in TEXTS), encoding="utf-8")
    return VocabularySettings("bo", str(path), "bo", tokens=12, min_count=2)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def start(request: pytest.FixtureRequest, base: str, tmp_path: Path) -> str:
    """The base, with and without a separate head."""
    if request.param:
        return base
    from transformers import AutoTokenizer, Qwen3ForCausalLM

    torch.manual_seed(7)
    tied = Qwen3ForCausalLM.from_pretrained(base)
    tied.config.tie_word_embeddings = False
    untied = Qwen3ForCausalLM(tied.config)
    untied.load_state_dict({name: value.clone() for name, value in tied.state_dict().items()})
    torch.nn.init.normal_(untied.lm_head.weight, std=0.05)
    untied.generation_config = tied.generation_config
    untied.save_pretrained(tmp_path / "untied")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "untied")
    return str(tmp_path / "untied")


def rows_of_policy(policy: Policy, name: str = "default") -> dict[str, Tensor]:
    return {k: p for k, p in policy.named_parameters() if "trainable_tokens" in k and f".{name}" in k}


def moved(policy: Policy) -> Policy:
    """Move adapter and rows from their initial values."""
    stir(policy, seed=3)
    with torch.no_grad():
        for place, rows in enumerate(rows_of_policy(policy).values()):
            rows.add_(torch.randn(rows.shape, generator=torch.Generator().manual_seed(place)), alpha=0.1)
    return policy


def encoded(policy: Policy) -> Completions:
    """Prompts and completions, in pairs of one prompt, with many of the added tokens."""
    prompts = [policy.encoder.encode_prompt(text, 1000) for text in (TEXTS[0], CHINESE)]
    answers = [policy.encoder.encode_completion(text) for text in (TEXTS[1], TEXTS[2], UNSEEN, TEXTS[0])]
    return Completions([prompts[i // 2] for i in range(4)], answers, [1.0, 0.8, 1.0, 1.2])


def plain_twin(policy: Policy, start: str) -> torch.nn.Module:
    """The base with a larger embedding and head that contain the policy's new rows, as transformers makes them."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    old = len(model.get_input_embeddings().weight)
    model.resize_token_embeddings(max(old, len(policy.encoder.tokenizer)), mean_resizing=False)
    with torch.no_grad():
        for name, rows in rows_of_policy(policy).items():
            layer = model.get_output_embeddings() if "lm_head" in name else model.get_input_embeddings()
            layer.weight[len(policy.encoder.tokenizer) - len(rows) : len(policy.encoder.tokenizer)] = rows
    return model


def test_which_tokens_by_hand(settings: VocabularySettings, tokenizer) -> None:
    """Frequent units with the tsheg after them, most frequent first; a unit that is one token already is not added."""
    counts, apart = count_units(TEXTS, get_language("bo"))
    assert apart and counts["ཚང་"] == 4 and counts["མ་"] == 3 and counts["ཡིན"] == 3
    found = [token.content for token in find_tokens(settings, tokenizer)]
    assert found and len(found) <= 12 and "ཚང་" in found
    assert all(counts[form] >= 2 and len(tokenizer(form).input_ids) > 1 for form in found)
    frequency = [counts[form] for form in found]
    assert frequency == sorted(frequency, reverse=True)


def test_tokens_that_normal_text_never_has_are_told(
    settings: VocabularySettings, tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    """Preparation replaces the non-breaking tsheg of scanned books, and the new tokens would never be trained."""
    find_tokens(settings, tokenizer)
    assert "normal form" not in caplog.text
    path = Path(settings.corpus)
    path.write_text(path.read_text(encoding="utf-8").replace("་", "\u0f0c"), encoding="utf-8")
    found = [token.content for token in find_tokens(settings, tokenizer)]
    share = 100 * sum("\u0f0c" in form for form in found) / len(found)
    assert (
        share > 50 and f"{path}: {share:.1f} % of the new tokens are not in the normal form of Tibetan" in caplog.text
    )


def test_text_gets_shorter_and_comes_back(base: str, settings: VocabularySettings) -> None:
    plain = load_policy(base, "fp32", LORA, None, CPU)
    policy = load_policy(base, "fp32", LORA, None, CPU, settings)
    for text in [*TEXTS, UNSEEN]:
        ids = policy.encoder.encode_completion(text)
        assert len(ids) < len(plain.encoder.encode_completion(text)) and policy.encoder.decode([ids]) == [text]
    assert policy.encoder.encode_completion(CHINESE) == plain.encoder.encode_completion(CHINESE)
    assert policy.encoder.signature() != plain.encoder.signature()


def test_real_text_comes_back(base: str, shared: Path) -> None:
    file = str(shared / "sib200_flores_bo_zh/train.jsonl")
    policy = load_policy(base, "fp32", LORA, None, CPU, VocabularySettings("bo", file, "bo", tokens=500))
    plain = load_policy(base, "fp32", LORA, None, CPU)
    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    texts = [row["bo"] for row in rows]
    ids, before = policy.encoder.encode_completions(texts), plain.encoder.encode_completions(texts)
    assert policy.encoder.decode(ids) == texts
    assert sum(map(len, ids)) < 0.6 * sum(map(len, before))
    chinese = [row["zh"] for row in rows]
    assert policy.encoder.encode_completions(chinese) == plain.encoder.encode_completions(chinese)


def test_rows_begin_as_their_pieces_mean(base: str, settings: VocabularySettings) -> None:
    plain = load_policy(base, "fp32", LORA, None, CPU)
    policy = load_policy(base, "fp32", LORA, None, CPU, settings)
    embedding = plain.model.get_input_embeddings().weight
    (rows,) = rows_of_policy(policy).values()
    added = sorted(policy.encoder.tokenizer.get_added_vocab().items(), key=lambda item: item[1])[-len(rows) :]
    for row, (token, _) in zip(rows, added, strict=True):
        pieces = plain.encoder.tokenizer(token).input_ids
        torch.testing.assert_close(row, embedding[pieces].mean(0))


def test_logits_are_a_plain_models(start: str, settings: VocabularySettings) -> None:
    """Logits that tokens are sampled from, including those of new tokens."""
    policy = load_policy(start, "fp32", LORA, None, CPU, settings)
    with torch.no_grad():
        for rows in rows_of_policy(policy).values():
            rows.add_(0.1)
        ids = torch.tensor([policy.encoder.encode_prompt(TEXTS[0], 1000)])
        found, wanted = policy.model(input_ids=ids).logits, plain_twin(policy, start)(input_ids=ids).logits
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
        hidden = policy.decoder(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(policy.head(hidden), wanted[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_a_plain_models(start: str, settings: VocabularySettings, budget: int, recompute: bool) -> None:
    """With shared prompts and the chunked head: gradients of embedding and head, against transformers' own autograd."""
    policy = load_policy(start, "fp32", LORA, None, CPU, settings)
    rows = encoded(policy)
    found = score(policy, rows, budget, recompute)
    twin = plain_twin(policy, start)
    for row, (prompt, completion) in enumerate(zip(rows.prompts, rows.completions, strict=True)):
        logits = twin(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].float()
        logps = (logits / rows.temperatures[row]).log_softmax(-1)[range(len(completion)), completion]
        torch.testing.assert_close(found[row][0].detach(), logps.detach(), atol=1e-5, rtol=0)
        (logps * (torch.arange(1.0, len(completion) + 1).sin() + row / 10)).sum().backward()
    for name, parameter in rows_of_policy(policy).items():
        layer = twin.get_output_embeddings() if "lm_head" in name else twin.get_input_embeddings()
        first = len(policy.encoder.tokenizer) - len(parameter)
        wanted = layer.weight.grad[first : first + len(parameter)]
        assert wanted.norm() > 0.1 and relative(parameter.grad, wanted) < 1e-4
    trained = {n for n, p in policy.named_parameters() if p.requires_grad and "lora_" not in n}
    assert trained == set(rows_of_policy(policy)) and len(trained) == (1 if start.endswith("base0") else 2)


def test_saved_and_loaded_with_and_without_this_package(start: str, settings: VocabularySettings, tmp_path) -> None:
    from peft import PeftModel
    from transformers import AutoTokenizer

    policy = moved(load_policy(start, "fp32", LORA, None, CPU, settings))
    export_adapter(policy, tmp_path / "adapter")
    again = load_policy(start, "fp32", None, str(tmp_path / "adapter"), CPU)
    rows = encoded(policy)
    assert encoded(again) == rows
    with torch.no_grad():
        ours, loaded = (score(p, rows, 10**6) for p in (policy, again))
        with again.acting_as("reference"):
            reference = score(again, rows, 10**6)
    for row in ours:
        torch.testing.assert_close(loaded[row][0], ours[row][0], atol=1e-6, rtol=0)
        assert torch.equal(reference[row][0], loaded[row][0])  # KL is 0 and the ratio 1 when the next stage begins

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    assert tokenizer(TEXTS[0]).input_ids == policy.encoder.encode_completion(TEXTS[0])[:-1]
    # A user's two lines without this package: enlarge the base to the tokenizer, then PEFT.
    stranger = PeftModel.from_pretrained(plain_base(start, len(tokenizer)), str(tmp_path / "adapter")).eval()
    for row, (prompt, completion) in enumerate(zip(rows.prompts, rows.completions, strict=True)):
        with torch.no_grad():
            logits = stranger(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].float()
        logps = (logits / rows.temperatures[row]).log_softmax(-1)[range(len(completion)), completion]
        torch.testing.assert_close(ours[row][0], logps, atol=1e-5, rtol=0)


def plain_base(start: str, tokens: int) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    if tokens > len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(tokens, mean_resizing=False)
    return model


def test_the_base_is_the_base(start: str, settings: VocabularySettings) -> None:
    """For the drift probe: acting as the base, the rows of new tokens are untrained like all else; on text without
    new tokens it gives the base's own logits."""
    policy = load_policy(start, "fp32", LORA, None, CPU, settings)
    twin = plain_twin(policy, start)
    moved(policy)
    plain = load_policy(start, "fp32", LORA, None, CPU)
    prompt, answer = plain.encoder.encode_prompt(CHINESE, 1000), plain.encoder.encode_completion(CHINESE)
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        with policy.acting_as("base"):
            found = score(policy, Completions([prompt], [answer], [1.0]), 10**6)[0][0]
            logits = policy.model(input_ids=ids).logits[0]
        torch.testing.assert_close(logits, twin(input_ids=ids).logits[0], atol=1e-5, rtol=0)
        own = plain.model(input_ids=ids).logits[0]
        torch.testing.assert_close(logits[:, : own.shape[1]], own, atol=1e-5, rtol=0)
    logps = logits[len(prompt) - 1 : -1].log_softmax(-1)[range(len(answer)), answer]
    torch.testing.assert_close(found, logps, atol=1e-5, rtol=0)


def test_a_decoder_that_joins_tokens_before_bytes_is_refused(settings: VocabularySettings, tokenizer) -> None:
    """That of a GGUF file in transformers 5.17: with one added token, all byte tokens stayed as they are."""
    mixing = copy.deepcopy(tokenizer)
    joined = [decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("▁", " "), decoders.ByteLevel()]
    mixing.backend_tokenizer.decoder = decoders.Sequence(joined)
    assert mixing.decode(mixing.encode(TEXTS[0])) == tokenizer.decode(tokenizer.encode(TEXTS[0]))
    with pytest.raises(ValueError, match=r"model.init_args.vocabulary: .* reads 'བོད.*' back as '.*à½.*'"):
        find_tokens(settings, mixing)
    use_byte_decoder(mixing.backend_tokenizer)  # as in a conversion
    assert [one.content for one in find_tokens(settings, mixing)] == [
        one.content for one in find_tokens(settings, tokenizer)
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, r"model.init_args.vocabulary.tokens: 0 is not a positive"),
        ({"column": "tibetan"}, r"model.init_args.vocabulary: .*tibetan.jsonl:1: no column 'tibetan'.* column: bo"),
        ({"corpus": "gone.jsonl"}, r"model.init_args.vocabulary: gone.jsonl: no such file"),
        ({"language": "xx"}, r"'xx' is not known"),
    ],
)
def test_mistakes(base: str, settings: VocabularySettings, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_policy(base, "fp32", LORA, None, CPU, dataclasses.replace(settings, **change))


def test_an_adapter_without_tokens_is_given_none(base: str, sft_adapter: str, settings: VocabularySettings) -> None:
    with pytest.raises(ValueError, match=r"model.init_args.vocabulary: .* was trained without new tokens"):
        load_policy(base, "fp32", None, sft_adapter, CPU, settings)


def flags(settings: VocabularySettings, *more: str) -> list[str]:
    given = {"language": "bo", "corpus": settings.corpus, "column": "bo", "tokens": 12, "min_count": 2}
    return [f"model.init_args.vocabulary={json.dumps(given)}", *more]


@pytest.mark.parametrize("weights_as", ["fp32", "nf4"])
def test_stages_hand_the_tokens_on(runs: Runs, settings: VocabularySettings, weights_as: str) -> None:
    """SFT trains the new rows and no others of the embedding; GRPO continues with them; a test needs no option."""
    held = f"model.init_args.weights={weights_as}"
    cli = runs("fit", "sft", "cold", *flags(settings, held, f"data.init_args.train={mixed(runs)}"))
    adapter = f"model.init_args.adapter={runs.folder / 'cold/adapter'}"
    (rows,) = rows_of_policy(cli.model.policy).values()
    fresh = load_policy(runs.base, "fp32", LORA, None, CPU, settings)
    (untouched,) = rows_of_policy(fresh).values()
    assert (rows - untouched).abs().max() > 1e-3
    ours, theirs = (rows_of(p.model.get_input_embeddings())[0].weight.float() for p in (cli.model.policy, fresh))
    old = len(fresh.encoder.tokenizer) - len(rows)
    assert torch.equal(ours[:old], theirs[:old])  # neither quantised nor changed
    assert (runs.folder / "cold/adapter/tokenizer.json").is_file()

    lora_of_adapter = "model.init_args.lora=null"
    grpo = runs("fit", "grpo", "rl", adapter, lora_of_adapter, held, "trainer.max_steps=2")
    (after,) = rows_of_policy(grpo.model.policy).values()
    assert not torch.equal(after, rows)
    started = f"model.init_args.adapter={runs.folder / 'rl/adapter'}"
    runs("test", "sft", "rl", started, lora_of_adapter, held, callbacks=[{"class_path": "Evaluation"}])


def mixed(runs: Runs) -> Path:
    """Corpus with the new tokens' texts among its references."""
    rows = (runs.corpus / "train.jsonl").read_text(encoding="utf-8").splitlines()[:18]
    rows += [json.dumps({"zh": CHINESE, "bo": text.split("།")[0] + "།"}, ensure_ascii=False) for text in TEXTS]
    path = runs.folder / "mixed.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_resumed_equals_straight(runs: Runs, settings: VocabularySettings) -> None:
    options = flags(settings, f"data.init_args.train={mixed(runs)}", "trainer.max_steps=6")
    runs("fit", "sft", "straight", *options, callbacks=[runs.checkpoints("straight", 3)])
    at_three = runs.folder / "straight" / "step=3.ckpt"
    saved = torch.load(at_three, weights_only=True)["state_dict"]
    assert any("trainable_tokens" in name or "embed_tokens" in name for name in saved)
    assert sum(value.numel() for value in saved.values()) < 50_000  # the rows, not the matrix
    runs("fit", "sft", "resumed", *options, f"ckpt_path={at_three}")
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))
    other = [option.replace('"tokens": 12', '"tokens": 5') for option in options]
    with pytest.raises(ValueError, match=r"--ckpt_path: .* (new tokens|do not fit this model)"):
        runs("fit", "sft", "third", *other, f"ckpt_path={at_three}")

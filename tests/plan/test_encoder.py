"""Memory of training a sentence encoder, predicted without its weights."""

from semalign_pl.plan.encoder import embedder_peak
from semalign_pl.plan.meta_policy import encoder_bytes


def test_memory_grows_with_the_texts(encoder) -> None:
    one, two, three = (embedder_peak(encoder, texts, 64) for texts in (64, 128, 192))
    assert encoder_bytes(encoder, 16) < one < two and three - two == two - one


def test_an_encoder_that_needs_other_inputs_is_counted_without_activations(tmp_path) -> None:
    """T5 has a decoder, which the package's encoders lack; AdamW's copy of the weights still counts."""
    from transformers import T5Config

    T5Config(vocab_size=100, d_model=32, d_ff=64, d_kv=8, num_layers=1, num_heads=4).save_pretrained(tmp_path)
    assert embedder_peak(str(tmp_path), 64, 64) == encoder_bytes(str(tmp_path), 20)

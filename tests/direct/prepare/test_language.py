"""A real language model of Qwen2.5's class."""

from __future__ import annotations

import pytest

from direct.common.errors import UserError
from direct.prepare import language


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    folder = tmp_path_factory.mktemp("qwen")
    vocab = {character: n for n, character in enumerate(sorted(ByteLevel.alphabet()))}
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab |= {token: 256 + n for n, token in enumerate(special)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special,
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=256,
        eos_token_id=[258, 256],
        pad_token_id=256,
        initializer_range=0.5,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return str(folder)


TEXTS = ["short", "a rather longer instruction than the others", "medium one"]


@pytest.mark.slow
def test_local_model_batches_as_it_answers_alone(qwen, monkeypatch):
    """Left padding: with the likeliest token always taken, the batch cannot change an answer."""
    monkeypatch.setattr(language, "MAX_TOKENS", 12)
    monkeypatch.setitem(language.SAMPLING, "top_k", 1)
    alone, together = language.local(qwen, batch=1)(TEXTS, 0), language.local(qwen)(TEXTS, 0)
    assert alone == together and len({text for text, _ in alone}) > 1
    assert all("im_start" not in text and "short" not in text for text, _ in alone)


@pytest.mark.slow
def test_local_model_samples_by_its_seed_and_says_when_it_was_cut(qwen, monkeypatch):
    monkeypatch.setattr(language, "MAX_TOKENS", 8)
    ask = language.local(qwen)
    assert ask(TEXTS, 1) == ask(TEXTS, 1) != ask(TEXTS, 2)
    monkeypatch.setattr(language, "MAX_TOKENS", 400)
    monkeypatch.setitem(language.SAMPLING, "temperature", 50.0)
    monkeypatch.setitem(language.SAMPLING, "top_k", 0)
    monkeypatch.setitem(language.SAMPLING, "top_p", 1.0)
    long = [complete for _, complete in ask(TEXTS * 4, 1)]
    monkeypatch.setattr(language, "MAX_TOKENS", 1)
    assert any(long) and sum(c for _, c in ask(TEXTS * 4, 1)) < sum(long)


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded"):
        language.local(str(tmp_path))

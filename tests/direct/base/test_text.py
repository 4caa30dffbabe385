"""The miniature's tokenizer: every caption fits."""

from __future__ import annotations

import numpy as np

from direct.base import text, transformer
from direct.world.record import caption, draw


def test_every_caption_fits_and_has_no_unknown_word():
    tokenizer = text.tokenizer()
    rng = np.random.default_rng(0)
    prompts = [caption(draw(rng)) for _ in range(500)]
    ids = transformer.tokenize(tokenizer, prompts, text.LENGTH)
    assert ids.shape == (501, text.LENGTH)
    assert not (ids == tokenizer.unk_token_id).any()
    assert (ids[:-1] != 0).sum(1).max() < text.LENGTH
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == prompts[0]
    assert (ids[-1] != 0).sum() == 1  # the empty prompt is the end token alone

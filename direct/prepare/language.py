"""Asking an instruction-tuned language model in this process; `server` asks one behind a server.

Both sample as Qwen2.5-7B-Instruct's own generation settings say, stated here so that no file of a
model changes them. Answers come in the order asked, as (text, whether it came to its own end).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..common.errors import UserError
from .perturb import Answer, Ask

SAMPLING = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
MAX_TOKENS = 512


def local(model: str, batch: int = 16) -> Ask:
    """A causal language model of transformers: its chat template, left padding, `batch` at a time.

    model: a folder, or a hub id, at a commit where it says owner/name@commit.
    Deterministic for the same instructions, seed and batch on the same machine.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name, _, commit = (model, "", "") if Path(model).is_dir() else model.partition("@")
    revision = commit or None
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, padding_side="left")
        network = AutoModelForCausalLM.from_pretrained(
            name, revision=revision, dtype="auto", use_safetensors=True
        ).eval()
    except (OSError, ValueError) as error:
        raise UserError(f"language model {model} cannot be loaded: {error}") from None
    if not tokenizer.chat_template:
        raise UserError(f"{model} has no chat template; give an instruction-tuned model")
    network.to("cuda" if torch.cuda.is_available() else "cpu")

    def ask(instructions: Sequence[str], seed: int) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(instructions), batch):
            torch.manual_seed(seed + start)
            answers += _generate(network, tokenizer, instructions[start : start + batch])
        return answers

    return ask


@torch.no_grad()
def _generate(network: Any, tokenizer: Any, instructions: Sequence[str]) -> list[Answer]:
    chats = [[{"role": "user", "content": text}] for text in instructions]
    texts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    asked = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    asked = asked.to(network.device)
    said = network.generate(
        **asked,
        do_sample=True,
        max_new_tokens=MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        **SAMPLING,
    )[:, asked.input_ids.shape[1] :]
    ends = network.generation_config.eos_token_id
    ends = torch.tensor(ends if isinstance(ends, list) else [ends], device=said.device)
    complete = torch.isin(said, ends).any(1).tolist()
    return list(zip(tokenizer.batch_decode(said, skip_special_tokens=True), complete, strict=True))

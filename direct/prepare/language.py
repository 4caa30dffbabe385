"""Asking an instruction-tuned language model: in this process, or behind a server.

Both sample as Qwen2.5-7B-Instruct's own generation settings say, stated here so that no file of a
model changes them. Answers come in the order asked, as (text, whether it came to its own end).
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ..common.errors import UserError
from .perturb import Answer, Ask

SAMPLING = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
MAX_TOKENS = 512
KEY = "DIRECT_LLM_KEY"  # sent as a bearer token where it is set
WAITS = (1.0, 4.0, 16.0)  # seconds before each new attempt to reach the server


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


def server(url: str, model: str, parallel: int = 16, seconds: float = 120.0) -> Ask:
    """An OpenAI-compatible server, such as vLLM's: `url` ends before /chat/completions.

    A server that does not answer is tried again after 1, 4 and 16 s, then a `UserError`.
    """

    if not url.startswith(("http://", "https://")):
        raise UserError(f"--server {url} is no address; write it as http://host:8000/v1")

    def one(text: str, seed: int) -> Answer:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "seed": seed,
            "max_tokens": MAX_TOKENS,
            **SAMPLING,
        }
        reply = _post(f"{url.rstrip('/')}/chat/completions", body, seconds)
        try:
            choice = reply["choices"][0]
            return choice["message"]["content"] or "", choice.get("finish_reason") != "length"
        except (KeyError, IndexError, TypeError):
            raise UserError(f"{url} answered {str(reply)[:200]}, which is no completion") from None

    def ask(instructions: Sequence[str], seed: int) -> list[Answer]:
        with ThreadPoolExecutor(parallel) as pool:
            return list(pool.map(one, instructions, range(seed, seed + len(instructions))))

    return ask


def _post(url: str, body: dict[str, Any], seconds: float) -> Any:
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {os.environ[KEY]}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    for wait in (*WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            reason = f"status {error.code}: {error.read(200).decode(errors='replace')}"
            if error.code < 500 and error.code != 429:
                raise UserError(f"{url} refused, {reason}; check the model's name") from None
        except (OSError, http.client.HTTPException, ValueError) as error:  # down, cut off, no JSON
            reason = str(error)
        if wait is not None:
            time.sleep(wait)
    raise UserError(
        f"{url} does not answer ({reason}); finished work is kept, run the same command again "
        "to resume"
    )

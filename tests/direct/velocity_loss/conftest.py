"""Without a GPU, Triton's kernels run in its interpreter, chosen when they are decorated."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

"""DIRECT_EMULATE_CUDA=1 asks the CUDA kernels, on the CPU, what these tests ask of "cpp".

tests/csrc/emulation runs them. What goes around `native.operator` stays with the CPU's kernels:
torch.compile, and the registered operators by name.
"""

from __future__ import annotations

import os

import cuda_emulation
import pytest

from direct.loss import native

if os.environ.get("DIRECT_EMULATE_CUDA") == "1":

    @pytest.fixture(scope="session")
    def emulated_cuda(tmp_path_factory: pytest.TempPathFactory) -> list[cuda_emulation.Emulation]:
        return [
            cuda_emulation.build(tmp_path_factory.mktemp("cuda"), kernels=kernels)
            for kernels in ("cuda_kernels.cu", "targets_cuda.cu")
        ]

    @pytest.fixture(autouse=True)
    def instead_of_the_cpu(
        emulated_cuda: list[cuda_emulation.Emulation], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loss, targets = emulated_cuda
        monkeypatch.setattr(native, "operator", loss.loss)
        monkeypatch.setattr(native, "target_operator", targets.targets)

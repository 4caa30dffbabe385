"""DIRECT_EMULATE_CUDA=1 asks the CUDA kernels, on the CPU, what these tests ask of "cpp".

tests/csrc/emulation runs them. What goes around `native.operator` stays with the CPU's kernels:
torch.compile, and the registered operators by name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cuda_emulation
import pytest

from direct.loss import machine_code, native


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], machine_code.Kernel]:
    """compiled(program): the kernel that Triton compiles there, in a process without interpreter.

    The program writes its machine code to the file that it is given.
    """
    if machine_code.cuobjdump() is None:
        pytest.skip("no cuobjdump, it comes with triton")

    def read(program: str) -> machine_code.Kernel:
        environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
        cubin = tmp_path / "kernel.cubin"
        subprocess.run([sys.executable, "-c", program, cubin], check=True, env=environment)
        (kernel,) = machine_code.kernels(cubin)
        return kernel

    return read


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

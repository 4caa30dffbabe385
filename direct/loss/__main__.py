"""python -m direct.velocity_loss: which backends can run here, bytes per element, machine code."""

from __future__ import annotations

import argparse

from ..common.errors import UserError, command


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m direct.velocity_loss", description=__doc__)
    text = "also registers and memory instructions of the CUDA kernels (default sm_90)"
    parser.add_argument("--machine-code", metavar="ARCH", nargs="?", const="sm_90", help=text)
    arguments = parser.parse_args()
    if arguments.machine_code is not None:
        from .machine_code import check_arch

        check_arch(arguments.machine_code)
    print_backends()
    print_bytes()
    if arguments.machine_code:
        print_machine_code(arguments.machine_code)
    return 0


def print_backends() -> None:
    import torch

    from .. import extension
    from . import backends

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in backends.BACKENDS:
        reason = backends.missing(name)
        if reason is None and name in ("cuda", "triton") and not torch.cuda.is_available():
            reason = "torch sees no CUDA device"
        if reason is None and name == "cuda":
            reason = backends.refusal(torch.device("cuda", torch.cuda.current_device()))
        detail = ""
        if name == "cpp" and reason is None:
            detail = f" ({torch.ops.direct.instruction_set('')})"
        print(f"  {name:7} {'usable' + detail if reason is None else 'not usable: ' + reason}")
    if extension.MISSING is None:
        print(f"  compiled kernels: {extension.PATH.name}, CUDA: {extension.cuda_note()}")


# Inputs beside v and x, with all four terms and the gradient.
VARIANTS = {
    "flow matching alone": 1,
    "flow matching and anchor (SFT)": 2,
    "all terms, noises given": 6,
    "all terms, negatives' noises drawn or marginal": 4,
    "all terms, eps drawn too": 3,
}


def bytes_per_element(inputs: int, size: int, gradient: bool = True) -> int:
    """Bytes per element: v, x and `inputs` more are read once, the gradient is written once."""
    return size * (2 + inputs + gradient)


def print_bytes() -> None:
    print("bytes per element, gradient included" + " " * 12 + "bf16  fp32")
    for name, inputs in VARIANTS.items():
        print(f"  {name:46}{bytes_per_element(inputs, 2):4}  {bytes_per_element(inputs, 4):4}")


def print_machine_code(arch: str) -> None:
    from .. import extension
    from . import backends, machine_code

    if not extension.HAS_CUDA:
        raise UserError(f"no CUDA kernels to show: {backends.missing('cuda')}")
    found = machine_code.kernels(extension.PATH, arch)
    if not found:
        raise UserError(
            f"--machine-code {arch}: the library holds no code for it; known: see DIRECT_CUDA_ARCHS"
        )
    for kernel in sorted(found, key=lambda kernel: kernel.name):
        accesses = ", ".join(f"{count} {name}" for name, count in sorted(kernel.accesses().items()))
        size = f"{kernel.registers} registers, {kernel.stack} bytes of stack"
        print(f"{kernel.name}: {size}; {accesses}")


if __name__ == "__main__":
    command(main)

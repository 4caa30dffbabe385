"""What cuobjdump says of kernels, read from text as it prints it."""

from __future__ import annotations

from collections import Counter

import pytest

from direct.common.errors import UserError
from direct.loss import machine_code

TOOL = """#!/bin/sh
test "$2" = sm_90 || exit 3
if [ "$3" = -res-usage ]; then cat <<'END'
Fatbin elf code:
 Function _ZN6direct11loss_kernelItLi1ELb1ELb0EEEvv:
  REG:96 STACK:16 SHARED:1024 LOCAL:0
 Function _ZN6direct13normal_kernelEv:
  REG:40 STACK:0 SHARED:0
END
else cat <<'END'
                Function : _ZN6direct11loss_kernelItLi1ELb1ELb0EEEvv
        .headerflags    @"EF_CUDA_SM90"
        /*0000*/                   LDC R1, c[0x0][0x28] ;     /* 0x00000a00ff017b82 */
        /*0010*/              @!P0 LDG.E.128 R4, [R2] ;
        /*0020*/               @P1 LDG.E.128 R8, [R2+0x10] ;
        /*0030*/                   STG.E.128 [R6], R4 ;
        /*0040*/                   STL [R1], R9 ;
                Function : _ZN6direct13normal_kernelEv
        /*0000*/                   EXIT ;
END
fi
"""


@pytest.fixture
def tool(tmp_path, monkeypatch):
    path = tmp_path / "cuobjdump"
    path.write_text(TOOL)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return path


def test_the_tool_on_the_path_is_the_first_choice(tool):
    assert machine_code.cuobjdump() == str(tool)


def test_registers_stack_and_memory_instructions_are_read(tool, tmp_path):
    loss, normal = machine_code.kernels(tmp_path / "lib.so")
    assert (loss.registers, loss.stack, normal.registers, normal.stack) == (96, 16, 40, 0)
    assert (loss.shared, normal.shared) == (1024, 0)
    assert loss.accesses() == {"LDG.E.128": 2, "STG.E.128": 1, "STL": 1}
    assert normal.instructions == Counter(EXIT=1) and normal.accesses() == {}
    assert loss.name == "loss: bf16, draws negatives, gradient, any size"
    assert normal.name == "normal_kernel"


@pytest.mark.parametrize(
    ("mangled", "said"),
    [
        ("_Z11loss_kernelIfLi0ELb0ELb1EEvv", "loss: fp32, draws nothing, no gradient, aligned"),
        ("_Z11loss_kernelItLi2ELb1ELb1EEvv", "loss: bf16, draws everything, gradient, aligned"),
        ("_Z13target_kernelItLb1ELb0EEvv", "targets: bf16, gradient, any size"),
        ("_Z13finish_kernelv", "finish_kernel"),
        ("_Z12empty_kernelv", "empty_kernel"),
        ("_Z12scale_kernelIfEvPT_", "scale: fp32"),
        ("_Z13normal_kernelItLb1EEvPKl", "normal: bf16, aligned"),
        ("_Z13normal_kernelIfLb0EEvPKl", "normal: fp32, any size"),
        ("_loss_kernel", "_loss_kernel"),
    ],
)
def test_mangled_names_become_words(mangled, said):
    assert machine_code._readable(mangled) == said


def test_without_the_tool_it_is_said_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_code, "cuobjdump", lambda: None)
    with pytest.raises(UserError, match="comes with the CUDA toolkit and with triton"):
        machine_code.kernels(tmp_path / "lib.so")


@pytest.mark.parametrize("arch", ["", "sm_", "sm_9", "90", "sm_90;id", "x" * 5000, "sm_٩٠"])
def test_what_is_no_architecture_is_one_sentence(arch):
    with pytest.raises(UserError, match="is no architecture; write it as sm_90") as error:
        machine_code.check_arch(arch)
    assert len(str(error.value)) < 200
    machine_code.check_arch("sm_90") or machine_code.check_arch("sm_100a")

"""Builds direct/_C.abi3.so: the CPU kernels, and the CUDA kernels where nvcc is found.

It uses torch's stable ABI alone and no Python headers, so one file serves later torch and Python
versions and loads on a machine without a GPU. Whatever is missing, the installation goes on:
without a C++ compiler the loss runs in plain torch, which one line says.

    CXX=clang++                    another compiler
    DIRECT_CUDA_ARCHS="90;100"     only these, and PTX of the last (default 80;90;100;120); "": none
    DIRECT_NO_EXTENSION=1          no extension at all
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = Path("csrc")
TARGET = "-DTORCH_TARGET_VERSION=0x020b000000000000"  # 2.11, the oldest torch it loads in
CXX_FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Contraction would make the bits depend on the instruction set; kernels say fma where they mean it.
KERNEL_FLAGS = [*CXX_FLAGS, "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
CUDA_FLAGS = [
    "-O3",
    "-std=c++17",
    "-Xcompiler=-fPIC,-fvisibility=hidden",
    f"--threads={os.cpu_count()}",
]
INSTRUCTION_SETS = {"portable": []}
if platform.machine() in ("x86_64", "AMD64"):
    INSTRUCTION_SETS |= {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx2", "-mfma", *AVX512]}


class Build(build_ext):
    """Runs the compilers directly: torch's own helper refuses CUDA code beside a CPU-only torch."""

    def build_extension(self, extension):
        output = Path(self.get_ext_fullpath(extension.name))
        archs = os.environ.get("DIRECT_CUDA_ARCHS", "80;90;100;120").replace(",", ";").split(";")
        archs = [arch for arch in map(str.strip, archs) if arch]
        try:
            if archs and (cuda := nvcc()):
                try:
                    return self._build(output, cuda, archs)
                except subprocess.CalledProcessError as problem:
                    print(f"direct: no CUDA kernels ({problem})", flush=True)
            self._build(output)
        except (Missing, subprocess.CalledProcessError) as problem:
            print(
                f"direct: no compiled kernels ({problem}); the loss will run in plain torch",
                flush=True,
            )
            Path("direct", output.name).unlink(missing_ok=True)  # an older one would stay in use

    def _build(self, output: Path, cuda=None, archs=()):
        if os.environ.get("DIRECT_NO_EXTENSION") == "1":
            raise Missing("DIRECT_NO_EXTENSION=1")
        compiler = (
            os.environ.get("CXX")
            or shutil.which("g++")
            or shutil.which("clang++")
            or shutil.which("c++")
        )
        if not compiler or not shutil.which(compiler.split()[0]):
            raise Missing("no C++ compiler on the path")
        try:
            import torch
        except ImportError:
            raise Missing("torch is not importable in the build environment") from None
        torch_folder = Path(torch.__file__).parent
        work = Path(self.build_temp)
        work.mkdir(parents=True, exist_ok=True)
        output.parent.mkdir(parents=True, exist_ok=True)
        jobs = cpu_jobs(compiler.split(), work, torch_folder, bool(cuda))
        linker = compiler.split()
        if cuda:
            code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
            code += [f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]
            cuda_compiler = [cuda, f"-ccbin={compiler.split()[0]}"]
            jobs = cuda_jobs(cuda_compiler, code, work) + jobs
            linker = [*cuda_compiler, "-cudart=static", *code]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, [command for command, _ in jobs]))
        link(linker, [result for _, result in jobs], output, torch_folder / "lib")


class Missing(Exception):
    pass


def sources_digest():
    """8 hex digits of csrc/ without comments and blanks: what made the library, for results."""
    text = "".join(path.read_text() for path in sorted(CSRC.iterdir()))
    code = re.sub(r"//[^\n]*|/\*.*?\*/|\s+", "", text, flags=re.S)
    return hashlib.sha256(code.encode()).hexdigest()[:8]


def cpu_jobs(compiler, work, torch_folder, with_cuda):
    """(command, object file) of each translation unit; the kernels once per instruction set."""
    jobs = []
    for name, flags in INSTRUCTION_SETS.items():
        result = work / f"cpu_{name}.o"
        options = [*KERNEL_FLAGS, *flags, f"-DDIRECT_ISA={name}"]
        jobs.append(([*compiler, *options, "-c", CSRC / "cpu_kernels.cpp", "-o", result], result))
    result = work / "binding.o"
    options = [*CXX_FLAGS, TARGET, "-isystem", torch_folder / "include"]
    options += [f"-DDIRECT_HAS_{name.upper()}" for name in INSTRUCTION_SETS]
    options += ["-DDIRECT_WITH_CUDA"] if with_cuda else []
    options += [f'-DDIRECT_SOURCES="{sources_digest()}"']
    return [([*compiler, *options, "-c", CSRC / "binding.cpp", "-o", result], result), *jobs]


def cuda_jobs(cuda, code, work):
    result = work / "cuda_kernels.o"
    command = [*cuda, *CUDA_FLAGS, *code, "-c", CSRC / "cuda_kernels.cu", "-o", result]
    return [(command, result)]


def link(compiler, objects, output, torch_lib):
    # libtorch.so is what reaches libtorch_cuda.so in a CUDA build of torch: kept, though unused.
    keep = ["-Xlinker", "--no-as-needed"]
    libraries = [f"-L{torch_lib}", "-ltorch", "-ltorch_cpu", "-lc10"]
    run([*compiler, "-shared", *objects, *keep, *libraries, "-o", output])


def nvcc():
    home = os.environ.get("CUDA_HOME")
    return (shutil.which("nvcc", path=f"{home}/bin") if home else None) or shutil.which("nvcc")


def run(command):
    print(" ".join(map(str, command)), flush=True)
    subprocess.run([str(part) for part in command], check=True)


setup(
    ext_modules=[Extension("direct._C", sources=[], py_limited_api=True, optional=True)],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)

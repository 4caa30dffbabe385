"""Builds direct/_C.abi3.so: the CPU kernels, and the CUDA kernels where nvcc is found.

It uses torch's stable ABI alone and no Python headers, so one file serves later torch and Python
versions and loads on a machine without a GPU. Whatever is missing, the installation goes on:
without a C++ compiler the loss runs in plain torch, which one line says. Why there are no CUDA
kernels is written into the library: `python -m direct.velocity_loss` shows it.

    CXX=clang++                    another compiler
    DIRECT_CUDA_ARCHS="90;100"     only these, and PTX of the last (default 80;90;100;120), "": none
                                   What this nvcc does not know is left out
    DIRECT_NO_EXTENSION=1          no extension at all
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = Path("csrc")
BINDINGS = ("binding", "binding_loss", "binding_targets", "binding_noise")  # these include torch
CPU_SOURCES = ("cpu_kernels", "targets_cpu")
CUDA_SOURCES = ("cuda_kernels", "targets_cuda", "noise_cuda")
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
        try:
            try:
                cuda = find_cuda()
                return self._build(output, str(cuda), cuda)
            except (NoCuda, Failed) as problem:
                print(f"direct: no CUDA kernels: {problem}", flush=True)
                self._build(output, f"none, {problem}")
        except (Missing, Failed) as problem:
            print(
                f"direct: no compiled kernels ({problem}); the loss will run in plain torch",
                flush=True,
            )
            Path("direct", output.name).unlink(missing_ok=True)  # an older one would stay in use

    def _build(self, output: Path, cuda_note: str, cuda=None):
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
        jobs = cpu_jobs(compiler.split(), work, torch_folder, bool(cuda), cuda_note)
        linker = compiler.split()
        if cuda:
            code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in cuda.archs]
            code += [f"-gencode=arch=compute_{cuda.archs[-1]},code=compute_{cuda.archs[-1]}"]
            cuda_compiler = [cuda.nvcc, f"-ccbin={compiler.split()[0]}"]
            jobs = cuda_jobs(cuda_compiler, code, work) + jobs
            # nvcc as a Python package has its runtime in lib, where it does not look for it.
            linker = [*cuda_compiler, "-cudart=static", f"-L{cuda.home / 'lib'}", *code]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, [command for command, _ in jobs]))
        link(linker, [result for _, result in jobs], output, torch_folder / "lib")


class Missing(Exception):
    """Nothing can be compiled."""


class NoCuda(Exception):
    """Only the CPU's kernels can be compiled."""


class Failed(Exception):
    """A compiler's command failed: its name and its first complaint."""


class Cuda(NamedTuple):
    nvcc: str
    release: str
    archs: list[str]
    unknown: list[str]  # wanted, but this nvcc does not know them

    @property
    def home(self):
        return Path(self.nvcc).resolve().parent.parent

    def __str__(self):
        left_out = f"; this nvcc does not know {', '.join(self.unknown)}" if self.unknown else ""
        return f"{self.release} for {', '.join(f'sm_{arch}' for arch in self.archs)}{left_out}"


def find_cuda():
    wanted = os.environ.get("DIRECT_CUDA_ARCHS", "80;90;100;120").replace(",", ";").split(";")
    wanted = [arch for arch in map(str.strip, wanted) if arch]
    if not wanted:
        raise NoCuda("DIRECT_CUDA_ARCHS was empty")
    if not (compiler := nvcc()):
        raise NoCuda("nvcc was not on the path")
    release = re.search(r"release ([\d.]+)", ask(compiler, "--version"))
    known = set(re.findall(r"compute_(\d+)", ask(compiler, "--list-gpu-arch")))
    archs = [arch for arch in wanted if arch.rstrip("af") in known]
    unknown = [arch for arch in wanted if arch not in archs]
    if not archs:
        raise NoCuda(f"{compiler} knows none of {', '.join(unknown)}")
    return Cuda(compiler, release[1] if release else "?", archs, unknown)


def ask(*command):
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as problem:
        raise NoCuda(f"{' '.join(command)} failed ({problem})") from None


def sources_digest():
    """8 hex digits of csrc/ without comments and blanks: what made the library, for results."""
    text = "".join(path.read_text() for path in sorted(CSRC.iterdir()))
    code = re.sub(r"//[^\n]*|/\*.*?\*/|\s+", "", text, flags=re.S)
    return hashlib.sha256(code.encode()).hexdigest()[:8]


def cpu_jobs(compiler, work, torch_folder, with_cuda, cuda_note):
    """(command, object file) of each translation unit; the kernels once per instruction set."""
    options = [*CXX_FLAGS, TARGET, "-isystem", torch_folder / "include"]
    options += [f"-DDIRECT_HAS_{name.upper()}" for name in INSTRUCTION_SETS]
    options += ["-DDIRECT_WITH_CUDA"] if with_cuda else []
    # What a C string can hold as it is: no quotes, no backslashes, one line.
    note = " ".join(re.sub(r"[^ -!#-\[\]-~]+", " ", cuda_note).split())
    options += [f'-DDIRECT_SOURCES="{sources_digest()}"', f'-DDIRECT_CUDA="{note}"']
    units = [(source, source, options) for source in BINDINGS]
    for source, (name, flags) in product(CPU_SOURCES, INSTRUCTION_SETS.items()):
        units.append((source, f"{source}_{name}", [*KERNEL_FLAGS, *flags, f"-DDIRECT_ISA={name}"]))
    jobs = []
    for source, name, flags in units:
        result = work / f"{name}.o"
        jobs.append(([*compiler, *flags, "-c", CSRC / f"{source}.cpp", "-o", result], result))
    return jobs


def cuda_jobs(cuda, code, work):
    results = [(CSRC / f"{source}.cu", work / f"{source}.o") for source in CUDA_SOURCES]
    return [([*cuda, *CUDA_FLAGS, *code, "-c", path, "-o", out], out) for path, out in results]


def link(compiler, objects, output, torch_lib):
    # libtorch.so is what reaches libtorch_cuda.so in a CUDA build of torch: kept, though unused.
    keep = ["-Xlinker", "--no-as-needed"]
    libraries = [f"-L{torch_lib}", "-ltorch", "-ltorch_cpu", "-lc10"]
    run([*compiler, "-shared", *objects, *keep, *libraries, "-o", output])


def nvcc():
    home = os.environ.get("CUDA_HOME")
    return (shutil.which("nvcc", path=f"{home}/bin") if home else None) or shutil.which("nvcc")


def run(command):
    command = [str(part) for part in command]
    print(" ".join(command), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        raise Failed(f"{Path(command[0]).name} failed: {complaint(done.stdout)}")


def complaint(output):
    """The first line of a compiler's output that tells of an error, or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    telling = (line for line in lines if re.search("error|fatal|cannot find", line, re.I))
    return next(telling, lines[-1])[:300]


if __name__ == "__main__":
    setup(
        ext_modules=[Extension("direct._C", sources=[], py_limited_api=True, optional=True)],
        cmdclass={"build_ext": Build},
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )

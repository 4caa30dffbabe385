"""The device's name, where there is no GPU."""

import sys

from direct.common import device


def test_without_a_gpu_the_device_is_the_first_processors_name(monkeypatch):
    cpuinfo = "processor : 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Other\n"
    monkeypatch.setitem(sys.modules, "torch", None)  # its import fails
    monkeypatch.setattr(device.Path, "read_text", lambda path: cpuinfo)
    assert device.name.__wrapped__() == "Some CPU @ 2 GHz"
    monkeypatch.setattr(device.Path, "read_text", lambda path: "nothing of it")
    monkeypatch.setattr(device.platform, "machine", lambda: "arm64")
    assert device.name.__wrapped__() == "arm64"

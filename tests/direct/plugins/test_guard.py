"""Errors of a user's code are one sentence with the plug-in, the file and the line."""

import errno

import pytest

from direct.common.errors import UserError
from direct.plugins.guard import guarded
from direct.plugins.registry import entry


def test_an_error_names_the_plug_in_its_file_and_line_and_keeps_its_cause(plugged):
    plugged("@plugins.sampler\ndef far(z, labels, laws):\n    raise KeyError('x')\n")
    with pytest.raises(
        UserError, match=r"the sampler far \(mine.py\) failed: KeyError: 'x' \(line 6\)"
    ) as e:
        entry("far").function(None, None, None)
    assert isinstance(e.value.__cause__, KeyError)


def test_the_line_is_the_users_where_the_error_comes_from_a_library(plugged):
    plugged(
        "import numpy as np\n\n\n@plugins.term()\ndef off(v, seen):\n"
        "    x = 1\n    return np.reshape([1, 2], 3)\n"
    )
    with pytest.raises(UserError, match=r"the term off .*ValueError: .* \(line 10\)"):
        entry("off").function(None, None)


def test_sentences_and_full_disks_pass_as_they_are():
    def refuse():
        raise UserError("mine")

    def fill():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"^mine$"):
        guarded("the judge x", refuse)()
    with pytest.raises(OSError, match="No space left"):
        guarded("the judge x", fill)()


@pytest.mark.parametrize("made", [None, {"sharp": 0.5}])
def test_what_is_no_function_is_refused(made):
    with pytest.raises(UserError, match=rf"the draw of x returned {type(made).__name__}; return a"):
        guarded("the draw of x", made)

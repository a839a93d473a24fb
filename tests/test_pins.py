"""The versions of TVM that hago was proven with."""

from importlib.metadata import version


def test_tvm_is_the_release_that_hago_is_written_for():
    assert version("apache-tvm").startswith("0.27.")


def test_tvm_ffi_is_the_release_without_the_crash_in_save_json():
    assert version("apache-tvm-ffi").startswith("0.1.14.post")

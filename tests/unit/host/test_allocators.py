"""Where allocator libraries are, and whether they load."""

import pytest

from probe_agent.host import allocators, kernel


@pytest.mark.parametrize(
    ("library", "machine"),
    [
        ("usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "x86_64"),
        ("usr/lib/aarch64-linux-gnu/libjemalloc.so.2", "aarch64"),
        ("usr/lib64/libjemalloc.so.2", "x86_64"),
    ],
)
def test_finds_the_library_where_each_distribution_puts_it(fake_root, library, machine):
    assert allocators.find(fake_root({library: ""}), machine) == {"jemalloc": f"/{library}"}


def test_a_library_that_is_none_does_not_load(tmp_path):
    (tmp_path / "libjemalloc.so.2").write_text("no ELF")
    assert "does not load here" in allocators.loads(str(tmp_path / "libjemalloc.so.2"))


@pytest.mark.parametrize(
    ("os_release", "package"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "libjemalloc2"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "jemalloc"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "libjemalloc2"),
        ("ID=nixos\n", None),
    ],
)
def test_names_the_package_of_the_distribution(fake_root, os_release, package):
    assert allocators.jemalloc_package(kernel.distribution(fake_root({"etc/os-release": os_release}))) == package

"""Where no test machine can run, the reason is a sentence, and what is there already is used."""

import pytest
from image import PACKAGES, UnavailableError, cached_or_built, install_tools


def test_a_user_who_is_not_root_is_told_which_programs_are_missing(monkeypatch):
    monkeypatch.setattr("image.TOOLS", {"qemu-system-none": "qemu-system-none"})
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UnavailableError, match=r"^qemu-system-none not installed, and only root on Debian could"):
        install_tools()


def test_a_user_who_is_not_root_is_told_that_there_is_no_image(monkeypatch, tmp_path):
    monkeypatch.setattr("image.CACHE", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(UnavailableError, match=r"^no image in .*, and only root can build one"):
        cached_or_built()


def test_the_image_is_built_once_and_has_the_packages_of_the_recipe(image, machines):
    assert cached_or_built() == image
    query = "dpkg-query -W -f '${db:Status-Status} ' " + " ".join(PACKAGES)
    assert set(machines[0].run(query).stdout.split()) == {"installed"}

"""Puts the configuration into the package, where a container without a checkout reads it.

Everything else about the build stands in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("base", "container", "logging.yml")


class BuildWithConfiguration(build_py):
    """Copies ``conf`` to ``tabweave/conf``; an editable install reads it in place."""

    def run(self) -> None:
        """Builds the modules, then adds the files."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "tabweave" / "conf"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            source = Path(__file__).parent / "conf" / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, target / name)


setup(cmdclass={"build_py": BuildWithConfiguration})

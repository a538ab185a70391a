import shutil
import subprocess
import sys

import pytest

from tabweave.models.config import ARCHITECTURES
from tabweave.models.encoders.text_encoder import TextEncoder
from tabweave.models.fusion import Fusion
from tabweave.models.parts import FUSIONS, NONE, TEXT_ENCODERS


@pytest.mark.parametrize(
    ("parts", "kind"), [(TEXT_ENCODERS, TextEncoder), (FUSIONS, Fusion)]
)
def test_every_name_stands_for_a_class_of_its_kind(parts, kind):
    assert all(issubclass(part.load(), kind) for part in parts.values())


def test_every_part_is_in_an_architecture():
    kinds = ARCHITECTURES.values()
    assert {a.text for a in kinds} == {*TEXT_ENCODERS, NONE}
    assert {a.fusion for a in kinds} == {*FUSIONS, NONE}


SUM = '''

class SumFusion(ConcatFusion):
    """Another one."""
'''
BUILD = """
from tabweave.models import ModelConfig, build_model
from tabweave.models.registry import describe_model
config = ModelConfig(
    model_class="custom", fusion="sum", numeric_embedding={"kind": "linear"}
)
from tabweave.models.registry import TextInput
text = TextInput(
    name="t", encoder="scratch", vocabulary_size=50, pad_id=0, max_sen_len=8,
    max_total_chunks=1,
)
spec = describe_model(config, fields=[text], features=["num:x"], classes=["n", "y"])
print(type(build_model(spec).fusion).__name__)
"""


def test_a_new_fusion_is_a_class_and_an_entry(root, tmp_path):
    """As CONTRIBUTING.md says it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "src" / "tabweave", tmp_path / "tabweave", ignore=ignored)
    models = tmp_path / "tabweave" / "models"
    with open(models / "fusion.py", "a", encoding="utf-8") as file:
        file.write(SUM)
    text = (models / "parts.py").read_text(encoding="utf-8")
    entry = '    "sum": Part("fusion", "SumFusion"),\n'
    changed = text.replace("FUSIONS = {\n", "FUSIONS = {\n" + entry)
    (models / "parts.py").write_text(changed, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "SumFusion\n", done.stderr

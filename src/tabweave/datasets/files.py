"""Catalog entries for everything that is not a table."""

from __future__ import annotations

import base64
import io
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kedro.io.core import DatasetError
from kedro.utils import load_obj
from kedro_datasets._typing import ImagePreview, JSONPreview

from tabweave.datasets.base import FileDataset
from tabweave.errors import ArtifactError
from tabweave.storage.artifacts import (
    Provenance,
    dump_json,
    read_json,
    replacing,
    replacing_folder,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tabweave.models.classifier import Classifier

# No date and no version in the file: equal figures give equal bytes.
PNG: dict[str, Any] = {"format": "png", "dpi": 150, "metadata": {"Software": None}}


class JsonDataset(FileDataset[Any, Any]):
    """Plain values as JSON: sorted keys, no NaN."""

    def load(self) -> Any:
        """The values."""
        return read_json(self.path)

    def save(self, data: Any) -> None:
        """Writes the values in one step."""
        write_json(self.path, data)

    def preview(self) -> JSONPreview:
        """The values, for kedro-viz."""
        return JSONPreview(dump_json(read_json(self.path)))


class ObjectDataset(JsonDataset):
    """An object of ours as JSON, such as the schema or a fitted part.

    Args:
        path: The file.
        holds: Dotted name of its class, which has ``to_json`` and ``from_json``.
        metadata: For kedro-viz.
    """

    def __init__(
        self, *, path: str, holds: str, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(path=path, metadata=metadata)
        self._holds = holds

    def load(self) -> Any:
        """The object.

        Raises:
            ArtifactError: The file is missing or damaged.
        """
        return load_obj(self._holds).from_json(super().load())

    def save(self, data: Any) -> None:
        """Writes the object in one step."""
        super().save(data.to_json())


class TokenizersDataset(FileDataset[dict[str, str], dict[str, str]]):
    """``<field>/tokenizer.json`` per text field; loads as field -> JSON text."""

    def load(self) -> dict[str, str]:
        """Field -> content of its tokenizer.json.

        Raises:
            ArtifactError: The folder is missing; an empty one has no text fields.
        """
        if not self.path.is_dir():
            raise ArtifactError(f"{self.path} does not exist.", stages=("text",))
        files = sorted(self.path.glob("*/tokenizer.json"))
        return {f.parent.name: f.read_text(encoding="utf-8") for f in files}

    def save(self, data: dict[str, str]) -> None:
        """Writes all fields, or none."""
        with replacing_folder(self.path) as part:
            for field, content in data.items():
                (part / field).mkdir()
                (part / field / "tokenizer.json").write_text(content, encoding="utf-8")


class ModelDataset(FileDataset["Classifier", "Classifier"]):
    """``model.safetensors`` and ``config.json``: weights and a description, no code."""

    def load(self) -> Classifier:
        """The model, ready to predict."""
        from tabweave.models import load_model

        return load_model(self.path)

    def save(self, data: Classifier) -> None:
        """Writes both files, or none."""
        from tabweave.models import save_model

        save_model(data, self.path)


class OnnxDataset(FileDataset[bytes, bytes]):
    """One ONNX file."""

    def load(self) -> bytes:
        """Its bytes: a session made from bytes follows no external reference."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{self.path} does not exist.", stages=("export",)
            ) from error

    def save(self, data: bytes) -> None:
        """Writes it in one step."""
        write_bytes(self.path, lambda file: file.write(data))


class OptionalOnnxDataset(OnnxDataset):
    """One ONNX file that may have been refused or not wanted: no bytes are no file."""

    may_be_absent: ClassVar[bool] = True
    """That there is no file is a result of the stage like any other."""

    def load(self) -> bytes:
        """Its bytes; none where there is no file."""
        return super().load() if self.path.exists() else b""

    def save(self, data: bytes) -> None:
        """Writes it in one step, or removes an earlier one."""
        if data:
            super().save(data)
        else:
            self.path.unlink(missing_ok=True)
            Provenance.path_for(self.path).unlink(missing_ok=True)


class FigureDataset(FileDataset["Figure", bytes]):
    """A matplotlib figure as PNG."""

    def load(self) -> bytes:
        """The PNG."""
        return self.path.read_bytes()

    def save(self, data: Figure) -> None:
        """Draws it in one step."""
        with replacing(self.path) as part:
            data.savefig(part, **PNG)

    def preview(self) -> ImagePreview:
        """The picture, for kedro-viz."""
        return ImagePreview(base64.b64encode(self.path.read_bytes()).decode())


class FolderDataset(FileDataset[Any, Path]):
    """A folder that a node fills itself while it runs, such as checkpoints."""

    filled_by_nodes: ClassVar[bool] = True
    """That a node which takes it as an input writes to it."""

    def load(self) -> Path:
        """The path of the folder, which exists from now on."""
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path

    def save(self, data: Any) -> None:
        """Refuses: the node that fills the folder has written it already."""
        raise DatasetError(f"{self.path} is filled by the node that uses it.")


class TensorBoardDataset(FileDataset[dict[str, Any], Path]):
    """Scalars and figures as TensorBoard events, the figures as PNG files beside them."""

    def load(self) -> Path:
        """The folder."""
        return self.path

    def save(self, data: dict[str, Any]) -> None:
        """Replaces the events and figures of the last evaluation.

        The folder is replaced whole, so a failure leaves the old ones. Other folders in
        this one, such as the curves of training, stay.

        Args:
            data: ``scalars`` name -> number or None, ``figures`` name -> figure.
        """
        with replacing_folder(self.path) as part:
            for other in (path for path in self.path.glob("*") if path.is_dir()):
                shutil.copytree(other, part / other.name, symlinks=True)
            _write_events(part, data)


def _write_events(folder: Path, data: dict[str, Any]) -> None:
    """Writes record after record: the library's own writer does so in a thread.

    An error of the disk would end that thread and not reach the caller.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter
    from torch.utils.tensorboard.summary import image, scalar

    now = time.time()
    with open(folder / f"events.out.tfevents.{now:.0f}.tabweave", "wb") as file:
        records = RecordWriter(file)

        def write(**content: Any) -> None:
            records.write(Event(wall_time=now, **content).SerializeToString())

        write(file_version="brain.Event:2")
        for name, value in data["scalars"].items():
            if value is not None:
                write(summary=scalar(name, value))  # type: ignore[no-untyped-call]
        for name, figure in data["figures"].items():
            png = io.BytesIO()
            figure.savefig(png, **PNG)
            (folder / f"{name}.png").write_bytes(png.getvalue())
            pixels = _pixels(png.getvalue())
            write(summary=image(name, pixels, dataformats="HWC"))  # type: ignore[no-untyped-call]


def _pixels(png: bytes) -> Any:
    from matplotlib.image import imread

    return (imread(io.BytesIO(png), format="png")[..., :3] * 255).astype("uint8")

"""Writes proposed roles as a Kedro environment that a person reads, edits and runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

from tabweave.errors import ConfigError, shorten
from tabweave.project_setup.roles import ColumnRole, InferredRoles
from tabweave.storage.artifacts import replacing_folder

SIMPLE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")
PLAIN_SCALAR = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
KEDRO_FOLDERS = ("base", "local")
# Folders that a run of base writes in data/<layer>, where an environment writes its own.
ARTIFACT_FOLDERS = (
    "bundle",
    "checkpoints",
    "model",
    "predictions",
    "row_vectors",
    "tensorboard",
    "tensorboard_eval",
    "token_proofs",
    "tokenizer",
)


def write_environment(
    conf_source: Path, name: str, data_dir: str, roles: InferredRoles
) -> list[Path]:
    """Writes ``conf/<name>/parameters.yml`` and ``globals.yml``, both or neither.

    Args:
        conf_source: The project's ``conf`` folder.
        name: Name of the environment, for ``kedro run --env=<name>``.
        data_dir: Folder of the data, written as given: a relative path is relative to
            the project.
        roles: What `infer_roles` proposed.

    Raises:
        ConfigError: The name cannot be an environment, or there is one of that name.
        ArtifactError: The folder cannot be written.
    """
    folder = Path(conf_source) / _checked_name(name)
    if folder.exists():
        raise ConfigError(
            f"{folder} exists and is left as it is. Choose another name with --name, "
            "or move the folder away and run tabweave init again."
        )
    files = {
        "parameters.yml": _lines(_parameters(roles, name)),
        "globals.yml": _lines(_globals(data_dir)),
    }
    with replacing_folder(folder) as part:
        for file, content in files.items():
            (part / file).write_text(content, encoding="utf-8")
    return [folder / file for file in files]


def name_fault(name: str) -> str:
    """Why a name cannot be that of an environment, which names folders of data as well.

    Example:
        >>> name_fault("mine"), name_fault("../base")[:36]
        ('', "'../base' cannot name an environment")
    """
    if not SIMPLE_NAME.fullmatch(name):
        return (
            f"{shorten(name)} cannot name an environment: use up to 100 letters, "
            "digits, '_', '-' and '.', beginning with a letter or digit and not ending "
            "in '.'"
        )
    if name.lower() in ARTIFACT_FOLDERS:
        return (
            f"{name!r} cannot name an environment: its files would lie in "
            f"data/<layer>/{name}, which a run without --env writes itself"
        )
    return ""


def _checked_name(name: str) -> str:
    fault = name_fault(name)
    if fault:
        raise ConfigError(f"{fault}. Pass another --name.")
    if name.lower() in KEDRO_FOLDERS:
        raise ConfigError(
            f"{name!r} cannot name a new environment: Kedro uses conf/base and "
            "conf/local itself. Pass another --name."
        )
    return name


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _globals(data_dir: str) -> Iterator[str]:
    yield "# Folder of the files; a relative path is relative to the project."
    yield f"data_dir: {_scalar(data_dir)}"


def _parameters(roles: InferredRoles, name: str) -> Iterator[str]:
    yield f"# Proposed by tabweave init from {shorten(roles.source.name)}, of whose"
    seen = f"the first {roles.sampled:,} were looked at"
    if roles.files > 1:
        seen = f"{roles.sampled:,} were looked at, the first of each of {roles.files} files"
    yield f"# {roles.rows:,} rows {seen}. Read what"
    yield f"# was seen, change what is wrong, then: kedro run --env={name}"
    yield ""
    yield from _data(roles)
    yield ""
    yield from _text(roles)
    yield ""
    yield "# Worth a look; what is not set here comes from conf/base:"
    yield "# model: {model_class: multimodal_bert}"
    yield "# training: {batch_size: 32, max_epochs: 4}"


def _data(roles: InferredRoles) -> Iterator[str]:
    config = roles.data
    yield "data:"
    for role in ("id", "label"):
        column = roles.having(role)[0]
        yield from _doubt(column, "  ")
        yield f"  {role}: {_scalar(column.name)}  # {column.seen}"
    yield "  classes:"
    for label, count in roles.classes.items():
        share = count / roles.rows
        yield f"    - {_scalar(label)}  # {count:,} rows of train, {share:.1%}"
    yield (
        f"  positive_label: {_scalar(config.positive_label or '')}"
        "  # precision, recall and thresholds are about this one"
    )
    yield from _columns("text", roles.having("text"))
    yield from _columns("categorical", roles.having("categorical"))
    yield from _columns("numeric", roles.having("numeric"))
    words = ", ".join(_quoted(word) for word in config.null_values)
    yield f"  null_values: [{words}]  # cells of numeric columns that mean 'missing'"
    yield from _quoting(roles)
    left_out = roles.having("left out")
    if left_out:
        yield "  # Left out; add a name to one of the lists above to use it:"
    for column in left_out:
        yield f"  #   {_scalar(column.name, checked=False)}: {column.seen}"


def _quoting(roles: InferredRoles) -> Iterator[str]:
    if roles.quoting is None:
        return
    if roles.quoting_seen:
        yield f"  # doubt: {roles.quoting_seen}. If cells are"
        yield "  # in quotes, set standard and run tabweave init again with --quoting."
    meaning = {
        "none": "a quote is a character like any other",
        "standard": "cells may be in quotes, over line ends too",
    }
    yield f"  quoting: {roles.quoting}  # {meaning[roles.quoting]}"


def _columns(key: str, columns: Sequence[ColumnRole]) -> Iterator[str]:
    yield f"  {key}:" if columns else f"  {key}: []"
    for column in columns:
        yield from _doubt(column, "    ")
        yield f"    - {_scalar(column.name)}  # {column.seen}"


def _doubt(column: ColumnRole, indent: str) -> Iterator[str]:
    if column.doubt:
        yield f"{indent}# doubt: {column.doubt}"


def _text(roles: InferredRoles) -> Iterator[str]:
    names = [column.name for column in roles.having("text")]
    yield "text:"
    yield "  # encoder: <folder or hub id of a pretrained model>"
    yield (
        f"  max_sen_len: {roles.max_sen_len}"
        "  # tokens per chunk: 95% of the texts fit, at 4 characters per token"
    )
    yield "  fields:"
    if len(names) == 1 and SIMPLE_NAME.fullmatch(names[0]):
        yield f"    - name: {_scalar(names[0])}"
        return
    # The name of a field names files, so a column that could not does not become one.
    yield "    - name: text"
    yield f"      columns: [{', '.join(_scalar(name) for name in names)}]"
    if len(names) == 2:
        yield "    # The two as fields of their own, each through an encoder, need"
        yield "    # model: {model_class: trimodal_bert} and, in place of the above:"
        for position, name in enumerate(names, start=1):
            field = name if SIMPLE_NAME.fullmatch(name) else f"text_{position}"
            yield f"    # - name: {_scalar(field)}"
            yield f"    #   columns: [{_scalar(name)}]"


def _scalar(value: str, *, checked: bool = True) -> str:
    """A string as YAML that every loader reads back as this string.

    Raises:
        ConfigError: Kedro would replace the value with something else.
    """
    if checked and ("${" in value or value == "???"):
        raise ConfigError(
            f"{shorten(value)} cannot stand in a Kedro configuration, where '${{' "
            "begins a reference and '???' is a missing value. Rename it in the files."
        )
    plain = PLAIN_SCALAR.fullmatch(value) and isinstance(yaml.safe_load(value), str)
    return value if plain else _quoted(value)


def _quoted(value: str) -> str:
    dumped: str = yaml.safe_dump(
        value, default_style='"', allow_unicode=True, width=float("inf")
    )
    return dumped.rstrip("\n")

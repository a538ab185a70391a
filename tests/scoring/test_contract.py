import json
from types import SimpleNamespace

import pytest

from tabweave.errors import ArtifactError
from tabweave.scoring.contract import read_contract


def session(kit, *, metadata=None, inputs=None, outputs=None, text=None):
    """What onnxruntime says of a pipeline; the real one is in test_runtime."""
    good = {"format": 1, "inputs": kit.inputs, "classes": list(kit.schema.classes)}
    found = json.dumps({**good, **(metadata or {})}) if text is None else text
    kinds = {"note": "string", "in_shop": "string", "price": "float"} | (inputs or {})
    outs = {"probabilities": "float", "label": "string"} if outputs is None else outputs

    def values(types):
        return [
            SimpleNamespace(name=name, type=f"tensor({kind})")
            for name, kind in types.items()
        ]

    properties = {} if found is False else {"tabweave": found}
    return SimpleNamespace(
        get_modelmeta=lambda: SimpleNamespace(custom_metadata_map=properties),
        get_inputs=lambda: values(kinds),
        get_outputs=lambda: values(outs),
    )


def test_columns_and_inputs_come_together(bundle_kit):
    found = read_contract(session(bundle_kit), bundle_kit.schema, "p")
    assert found.kinds == {"note": "text", "shop": "categorical", "price": "numeric"}
    assert found.text == ("note",)
    assert found.classes == ("no", "yes")


def test_further_keys_belong_to_others(bundle_kit):
    more = session(bundle_kit, metadata={"outputs": {}, "schema": {}, "else": 1})
    assert read_contract(more, bundle_kit.schema, "p").text == ("note",)


NOTE = {"name": "note", "column": "note", "kind": "text"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": False}, "no metadata 'tabweave'"),
        ({"text": "{"}, "not JSON"),
        ({"text": '{"format": 1, "format": 1}'}, "stands twice"),
        ({"text": "[]"}, r"its metadata is \[\]"),
        ({"metadata": {"format": 2}}, "its format is 2, not 1"),
        ({"metadata": {"inputs": [{"name": "x"}]}}, "its metadata is"),
        ({"metadata": {"classes": ["a", "b"]}}, "its classes are 'a', 'b'"),
        (
            {"metadata": {"inputs": [{**NOTE, "column": "gone"}]}},
            "reads text 'gone', which schema.json does not name",
        ),
        ({"inputs": {"more": "float"}}, "its inputs are"),
        ({"inputs": {"price": "double"}}, "its inputs are"),
        ({"metadata": {"inputs": [NOTE, NOTE]}}, "its inputs are"),
        ({"outputs": {"probabilities": "double"}}, "hold no probabilities"),
        ({"outputs": {}}, "hold no probabilities"),
    ],
)
def test_a_pipeline_that_is_not_as_it_says_is_refused(bundle_kit, options, words):
    with pytest.raises(ArtifactError, match=words):
        read_contract(session(bundle_kit, **options), bundle_kit.schema, "p")

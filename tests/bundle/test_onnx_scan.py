import contextlib
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tabweave.bundle.onnx_scan import DOMAINS, scan_onnx
from tabweave.errors import ArtifactError


@pytest.fixture(scope="module")
def good(bundle_kit):
    return bundle_kit.model().SerializeToString()


def refused(model):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(ArtifactError, match=r"m\.onnx is refused") as caught:
        scan_onnx(data, "m.onnx")
    return str(caught.value)


def foreign(domain="evil", kind="Run"):
    return helper.make_node(kind, ["logit"], ["unused"], domain=domain)


def body(*nodes):
    return helper.make_graph(list(nodes), "body", [], [])


def test_a_good_file_gives_its_facts(good, bundle_kit):
    found = scan_onnx(good, "m.onnx")
    assert found.domains == set(DOMAINS)
    assert found.nodes == len(bundle_kit.graph().node)
    assert '"classes": ["no", "yes"]' in found.properties["tabweave"]


def test_an_operator_of_another_domain_is_refused(bundle_kit):
    graph = bundle_kit.graph(nodes=[foreign()])
    message = refused(bundle_kit.model(graph=graph))
    assert "the operator 'Run' is of the domain 'evil'" in message


@pytest.mark.parametrize(
    "domain", ["Ai.onnx", "ai.onnx.ml ", "com.microsoft\0", "\u0410i.onnx"]
)
def test_domains_that_only_look_alike_are_refused(bundle_kit, domain):
    graph = bundle_kit.graph(nodes=[foreign(domain)])
    assert "is of the domain" in refused(bundle_kit.model(graph=graph))


def test_an_operator_in_the_body_of_a_loop_is_refused(bundle_kit):
    inner = helper.make_node("If", ["c"], ["r"], then_branch=body(foreign()))
    loop = helper.make_node("Loop", ["n"], ["out"], body=body(inner))
    graph = bundle_kit.graph(nodes=[loop])
    assert "'Run' is of the domain 'evil'" in refused(bundle_kit.model(graph=graph))


def test_an_operator_in_a_list_of_graphs_is_refused(bundle_kit):
    node = helper.make_node("Scan", ["n"], ["out"])
    node.attribute.append(helper.make_attribute("bodies", [body(foreign())]))
    graph = bundle_kit.graph(nodes=[node])
    assert "domain 'evil'" in refused(bundle_kit.model(graph=graph))


@pytest.mark.parametrize("domain", ["", "evil"])
def test_operators_in_functions_and_their_domains_are_seen(bundle_kit, domain):
    inside = foreign() if domain == "" else helper.make_node("Abs", ["a"], ["b"])
    function = helper.make_function(
        domain, "F", ["a"], ["b"], [inside], [helper.make_opsetid("", 20)]
    )
    message = refused(bundle_kit.model(functions=[function]))
    assert "domain 'evil'" in message


def test_an_operator_set_of_another_domain_is_refused(bundle_kit):
    assert "an operator set is of the domain 'evil'" in refused(
        bundle_kit.model(domains=["evil"])
    )


def test_an_operator_that_runs_another_file_is_refused(bundle_kit):
    graph = bundle_kit.graph(nodes=[foreign("com.microsoft", "EPContext")])
    assert "runs what another file holds" in refused(bundle_kit.model(graph=graph))


def external(name="w"):
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def test_weights_in_another_file_are_refused(bundle_kit):
    model = bundle_kit.model()
    model.graph.initializer.append(external())
    assert "external data" in refused(model)


@pytest.mark.parametrize("half", ["data_location", "external_data"])
def test_half_of_a_reference_is_one(bundle_kit, half):
    model = bundle_kit.model()
    tensor = external()
    tensor.ClearField(half)
    model.graph.initializer.append(tensor)
    assert "external data" in refused(model)


def test_external_tensors_in_attributes_and_sparse_weights_are_refused(bundle_kit):
    constant = helper.make_node("Constant", [], ["c"], value=external())
    within = helper.make_node("Loop", ["n"], ["out"], body=body(constant))
    for node in (constant, within):
        graph = bundle_kit.graph(nodes=[node])
        assert "external data" in refused(bundle_kit.model(graph=graph))
    model = bundle_kit.model()
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(external())
    assert "external data" in refused(model)


def test_a_second_graph_hides_nothing(good, bundle_kit):
    """Protobuf merges a message that comes twice, so both count."""
    bad = bundle_kit.model(graph=bundle_kit.graph(nodes=[foreign()]))
    assert "domain 'evil'" in refused(good + bad.SerializeToString())


def field(number, content, wire=2):
    def varint(value):
        out = b""
        while True:
            out += bytes([value & 127 | (128 if value > 127 else 0)])
            value >>= 7
            if not value:
                return out

    return varint(number << 3 | wire) + varint(len(content)) + content


@pytest.mark.parametrize("order", [(b"", b"evil"), (b"evil", b"")])
def test_a_node_with_two_domains_is_refused(order):
    node = field(4, b"Run") + b"".join(field(7, domain) for domain in order)
    message = refused(field(7, field(1, node)))
    assert "two values for the same field" in message or "'evil'" in message


def test_training_graphs_and_unknown_fields_are_refused(good, bundle_kit):
    model = bundle_kit.model()
    model.training_info.add().algorithm.node.append(foreign())
    assert "Model has no field 20" in refused(model)
    assert "Model has no field 99" in refused(good + field(99, b"x"))


def test_metadata_that_stands_twice_is_refused(bundle_kit):
    model = bundle_kit.model()
    model.metadata_props.add(key="tabweave", value="{}")
    assert "the metadata 'tabweave' stands twice" in refused(model)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x0a",
        pickle.dumps({"a": 1}),
        pickle.dumps({"a": 1}, protocol=0),
        b"PK\x03\x04" + b"\0" * 100,
        b"\x7fELF" + b"\0" * 100,
        b"\xff" * 100,
        b"{}",
        b"\x3b\x3c",
    ],
)
def test_what_is_no_onnx_file_is_refused(data):
    assert "ONNX file" in refused(data)


def test_a_file_that_ends_early_is_refused(good):
    for size in (1, 10, 100, len(good) // 2, len(good) - 1):
        refused(good[:size])


def test_a_length_beyond_the_file_is_refused():
    assert "ends too early" in refused(b"\x3a\xff\xff\xff\xff\x0f" + b"x" * 10)


def test_depth_and_width_are_bounded(monkeypatch):
    deep = b""
    for _ in range(60):
        deep = field(1, field(5, field(6, deep)))
    assert "nested too deeply" in refused(field(7, deep))
    monkeypatch.setattr("tabweave.bundle.onnx_scan.MAX_MESSAGES", 10)
    assert "too many parts" in refused(field(7, field(1, b"") * 20))
    monkeypatch.undo()
    assert "more than 50,000 operators" in refused(field(7, field(1, b"") * 50_001))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_read_or_refused_and_nothing_else(good, data):
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    damaged = good[:at] + bytes([byte]) + good[at + 1 :]
    with contextlib.suppress(ArtifactError):
        scan_onnx(damaged, "m.onnx")


def test_large_tables_are_looked_through_in_seconds(bundle_kit):
    keys = [str(number) for number in range(100_000)]
    node = helper.make_node(
        "LabelEncoder",
        ["in_shop"],
        ["big"],
        domain="ai.onnx.ml",
        keys_strings=keys,
        values_int64s=list(range(100_000)),
    )
    graph = bundle_kit.graph(nodes=[node])
    data = bundle_kit.model(graph=graph).SerializeToString()
    started = time.process_time()
    scan_onnx(data, "m.onnx")
    assert time.process_time() - started < 3

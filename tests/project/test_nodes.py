import ast
import inspect
import pickle
import textwrap
import typing

from kedro.validation.type_extractor import TypeExtractor

from tabweave.configuration.parameters import PARAMETER_TYPES
from tabweave.hooks import STAGES

LONGEST_BODY, LONGEST_FILE = 25, 150
PARAMETER = "params:"
MOST_INPUTS = 8
STILL_MORE = {
    "train_model": 10,
    "measure_export": 12,
    "make_bundle": 14,
}


def body_lines(function):
    """Lines from the first statement after the docstring to the last."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    return body[-1].end_lineno - body[0].lineno + 1


def parameters_of(node):
    """Parameter group -> annotation of the argument that takes it."""
    hints = typing.get_type_hints(inspect.unwrap(node.func))
    arguments = list(inspect.signature(node.func).parameters)
    assert len(arguments) == len(node.inputs), node.name
    return {
        name.removeprefix(PARAMETER): hints[argument]
        for argument, name in zip(arguments, node.inputs, strict=True)
        if name.startswith(PARAMETER)
    }


def test_nodes_are_named_as_their_functions(everything):
    """A node without a name of its own is called ``function([inputs]) -> outputs``."""
    for node in everything.nodes:
        assert node.name == node.func.__name__


def test_nodes_are_thin(everything):
    for node in everything.nodes:
        assert body_lines(node.func) <= LONGEST_BODY, node.name


def test_a_node_has_few_inputs(everything):
    """A new node may not have more; one that is mended leaves the list."""
    many = {
        n.name: len(n.inputs) for n in everything.nodes if len(n.inputs) > MOST_INPUTS
    }
    assert many == STILL_MORE


def test_node_files_are_short(everything):
    for path in {
        inspect.getsourcefile(inspect.unwrap(node.func)) for node in everything.nodes
    }:
        with open(path, encoding="utf-8") as file:
            assert len(file.readlines()) <= LONGEST_FILE, path


def test_nodes_say_what_they_give(everything):
    for node in everything.nodes:
        assert node.func.__doc__, node.name
        assert "return" in typing.get_type_hints(inspect.unwrap(node.func)), node.name


def test_no_node_takes_the_whole_configuration(everything):
    for node in everything.nodes:
        groups = {n for n in node.inputs if n.startswith("param")}
        assert groups <= {f"{PARAMETER}{name}" for name in PARAMETER_TYPES}, node.name


def test_parameters_arrive_as_their_type(everything):
    for node in everything.nodes:
        for group, annotation in parameters_of(node).items():
            assert annotation is PARAMETER_TYPES[group], f"{node.name}: {group}"


def test_parameters_stay_mappings_in_the_catalog(pipelines):
    """Kedro would put objects there of each type that it finds."""
    assert TypeExtractor(pipelines).extract_types_from_pipelines() == {}


def test_nodes_reach_the_processes_of_a_parallel_run(everything):
    for node in everything.nodes:
        assert pickle.loads(pickle.dumps(node.func)) is node.func


def test_every_parameter_group_is_read_by_a_node(everything):
    read = {group for node in everything.nodes for group in parameters_of(node)}
    assert read == set(PARAMETER_TYPES)


def test_every_node_belongs_to_one_stage(pipelines, everything):
    for node in everything.nodes:
        assert len(node.tags & set(STAGES)) == 1, node.name
    for stage in STAGES:
        assert all(node.tags == {stage} for node in pipelines[stage].nodes), stage

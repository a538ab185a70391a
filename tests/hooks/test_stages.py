from hooks_fixtures import FIT, make_node
from tabweave.hooks import STAGES, stage_of


def test_a_node_belongs_to_the_stage_of_its_tag():
    assert stage_of(FIT) == "tabular"
    assert stage_of(make_node("a", "b", "mine")) == "mine"
    assert STAGES.index("load") < STAGES.index("train") < STAGES.index("export")

import pytest

from tabweave.drawing import drawable, legible


@pytest.mark.parametrize(
    ("label", "drawn"),
    [
        ("paid", "'paid'"),
        ("a$b$", r"'a\$b\$'"),
        ("日", "'U+65E5 '"),
        ("x" * 50, "'" + "x" * 22 + "…"),
    ],
)
def test_a_label_is_cut_and_has_only_characters_of_the_font(label, drawn):
    assert legible(label) == drawn


def test_a_text_that_can_be_drawn_stays():
    assert drawable("Länge of café_3") == "Länge of café_3"

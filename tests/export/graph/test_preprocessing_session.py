import pyarrow as pa

from preparation_fixtures import preparation, prepare_session, text_field
from tabweave.preparation.reference import reference_chunks


def test_gives_the_tokens_of_every_field_and_needs_texts_alone():
    fields = text_field("x", ("s",)), text_field("y", ("t",), max_sen_len=3)
    prepared = preparation(fields, features=["num:price", "cat:shop:no"])
    texts = pa.table({"t": ["hello", None], "s": ["one two", "x"], "other": [1, 2]})
    found = prepare_session(prepared)(texts)
    expected = reference_chunks(prepared, texts)
    for name in ("x", "y"):
        one = found[name]
        chunks = [
            [
                ids[mask > 0].tolist()
                for ids, mask in zip(*row, strict=True)
                if mask.any()
            ]
            for row in zip(one.ids, one.mask, strict=True)
        ]
        assert chunks == expected[name]
    assert found["x"].dropped_tokens.tolist() == [0, 0]
    assert found["y"].dropped_characters.tolist() == [0, 0]

"""The page on evaluation lists the protocols that there are."""

from tests.protocols import PAGE, with_table


def test_the_table_of_protocols_is_that_of_the_folder() -> None:
    text = PAGE.read_text()
    assert text == with_table(text), "run `make readme`"

"""Stories through a real browser. A package to pytest, too: what `conftest.py` opens ends with the last of them."""

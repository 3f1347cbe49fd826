"""The progress line: drawn on a terminal only, and cleared."""

import io

from tools.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_written_where_nobody_watches():
    stream = io.StringIO()
    bar = ProgressBar(stream)
    bar.show("copying", 1, 1)
    bar.close()
    assert stream.getvalue() == ""


def test_a_terminal_sees_what_is_under_way_and_a_clear_line_at_the_end():
    stream = Terminal()
    bar = ProgressBar(stream)
    bar.show("copying", 5, 5)
    bar.close()
    bar.close()
    assert "copying [##############################] 100%" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_it_does_not_draw_for_every_step_but_always_the_last():
    stream = Terminal()
    bar = ProgressBar(stream)
    for done in range(1001):
        bar.show("copying", done, 1000)
    assert stream.getvalue().count("copying") < 100
    assert "100%" in stream.getvalue()


def test_an_unknown_total_shows_a_count():
    stream = Terminal()
    ProgressBar(stream).show("checking", 1234, 0)
    assert "checking 1,234" in stream.getvalue()

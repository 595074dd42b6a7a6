"""The counts of the stream's faults, said at the end of the run.

Here and not beside those tests: a pytest that has others run tests reads no deeper than this for what it says at the
end.
"""

from tests.faults.stream import report


def pytest_terminal_summary(terminalreporter) -> None:
    """The counts, whether the tests passed or failed."""
    calls = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, ()) if r.when == "call"]
    told = [value for call in calls for name, value in call.user_properties if name == report.NAME]
    if told:
        terminalreporter.section(report.NAME)
        for text in told:
            terminalreporter.line(text)

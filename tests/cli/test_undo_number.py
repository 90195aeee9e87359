"""`captioner undo` with any number."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioner.cli.main import main


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.one_of(st.integers(), st.sampled_from([0, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**400])))
def test_only_a_job_or_bulk_edit_that_exists_is_undone(tmp_path, capsys, number):
    status = main(["--state", str(tmp_path / "state"), "undo", "--", str(number)])
    out, error = capsys.readouterr()
    assert (status, out) == (2, "")
    reason = f"there is no job or bulk edit {number}" if -(2**63) <= number < 2**63 else "no such number"
    assert error.startswith(f"error: {reason}")
    assert error.count("\n") == 1

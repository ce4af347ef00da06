"""`skipthink ablate` before it runs. tests/tuning/test_sweep.py runs one."""

from skipthink_ray.cli import main


def test_the_dry_run_lists_every_arm_of_every_task(tmp_path, capsys):
    words = ["ablate", "--tasks", "multiarith,svamp", "--preset", "tiny", "--storage-path", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 24
    assert lines[0] == "multiarith, as configured  to do"
    assert lines[-1] == "svamp, ICoT-SI  to do"
    assert not [*tmp_path.iterdir()]


def test_a_space_without_arms_is_refused(capsys):
    assert main(["ablate", "chunks", "--preset", "tiny", "--dry-run"]) == 2
    assert "the space 'chunks' has no arms; `skipthink tune chunks` searches it" in capsys.readouterr().err

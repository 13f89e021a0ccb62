import torch

from rlsd_cli.core.evidence import Evidence, Reading


def test_a_gap_is_the_teacher_against_the_student_that_it_is_compared_with_and_0_where_nothing_was_shown():
    student = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    logp = torch.tensor([[[-0.5, -1.0], [-2.0, 0.0]], [[-1.0, 0.0], [-9.0, -9.0]]])
    shown = torch.tensor([[[True, True], [True, False]], [[True, False], [False, False]]])
    evidence = Evidence(
        mask=torch.ones(2, 2, dtype=torch.bool),
        advantage=torch.ones(2),
        score=torch.ones(2),
        logp=student - 5,
        old_logp=student - 6,
        sampled_logp=student - 7,
        student_logp=student,
        readings={"hint": Reading(logp, torch.zeros(2, 2, 2), shown)},
        group=torch.zeros(2, dtype=torch.long),
        gain=torch.zeros(2, 2),
    )
    expected = torch.tensor([[[0.5, 1.0], [-1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(evidence.gap("hint"), expected)

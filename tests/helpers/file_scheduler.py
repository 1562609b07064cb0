"""Shares tests out to pytest-xdist's workers by file, the longest files first."""

from xdist.scheduler.loadfile import LoadFileScheduling

# These train the tiny run's networks by the same programs, which one worker traces once.
_TOGETHER = (
    "tests/training/test_loop.py",
    "tests/interface/test_reconstruct.py",
    "tests/run/test_experiment.py",
    "tests/plan/test_identity.py",
    "tests/method/test_iteration.py",
)
# None of these is to be left for the end; the others take less than half a minute each (docs/reports/test_suite.md).
# Those that come first compile different programs, so that the first workers do not compile the same; later ones find
# theirs compiled.
_LONGEST = (
    _TOGETHER[0],
    "tests/lift/test_refinement.py",
    "tests/lift/test_detail_training.py",
    "tests/geometry/test_drawing.py",
    "tests/geometry/test_mesh_rasterizer.py",
    "tests/interface/test_model.py",
    "tests/lift/test_steps.py",
    "tests/training/test_shared.py",
    "tests/method/test_pipeline.py",
    "tests/method/test_pose_edit.py",
    "tests/lift/test_view_training.py",
    "tests/run/test_predict.py",
    "tests/networks/test_precision.py",
    "tests/networks/test_networks.py",
    "tests/apps/test_edit.py",
)


class FileScheduling(LoadFileScheduling):
    """The tests of a file share fixtures and programs: they stay with one worker, as do files that share programs."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _TOGETHER[0] if file in _TOGETHER else file

    def _assign_work_unit(self, node) -> None:
        """Gives a worker the longest file that is left."""
        ranks = {path: rank for rank, path in enumerate(_LONGEST)}
        first = min(self.workqueue, key=lambda path: ranks.get(path, len(ranks)))
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

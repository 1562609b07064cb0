"""Shares tests out to pytest-xdist's workers by file, the longest files first."""

from xdist.scheduler.loadfile import LoadFileScheduling

# None of these is to be left for the end; the others take less than half a minute each (docs/reports/test_suite.md).
# Those that come first compile different programs, so that the first workers do not compile the same; later ones find
# theirs compiled.
_LONGEST = (
    "tests/training/test_loop.py",
    "tests/lift/test_refinement.py",
    "tests/lift/test_detail_training.py",
    "tests/geometry/test_mesh_rasterizer.py",
    "tests/interface/test_model.py",
    "tests/lift/test_steps.py",
    "tests/training/test_shared.py",
    "tests/method/test_pipeline.py",
    "tests/run/test_experiment.py",
    "tests/interface/test_reconstruct.py",
    "tests/run/test_predict.py",
    "tests/networks/test_precision.py",
    "tests/networks/test_networks.py",
    "tests/method/test_iteration.py",
    "tests/apps/test_edit.py",
)


class FileScheduling(LoadFileScheduling):
    """The tests of a file share fixtures and programs: they stay with one worker."""

    def _assign_work_unit(self, node) -> None:
        """Gives a worker the longest file that is left."""
        ranks = {path: rank for rank, path in enumerate(_LONGEST)}
        first = min(self.workqueue, key=lambda path: ranks.get(path, len(ranks)))
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

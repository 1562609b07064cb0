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
# theirs compiled. Browsers come last, when what .ci/run has beside the tests is over.
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
    "tests/networks/test_networks.py",
    "tests/apps/test_edit.py",
    "tests/apps/serve/test_browser.py",
    "tests/apps/export/test_web.py",
    "tests/results/test_browser.py",
)


class FileScheduling(LoadFileScheduling):
    """The tests of a file share fixtures and programs: they stay with one worker, as do files that share programs."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _TOGETHER[0] if file in _TOGETHER else file

    def remove_node(self, node) -> str | None:
        """Forgets a worker; returns the test that it crashed in, which is not run again, or None.

        xdist also hands out what the worker had finished, which has nothing to run: whoever gets it waits for ever.
        """
        workload = self.assigned_work.pop(node)
        unfinished = [(scope, test) for scope, unit in workload.items() for test, done in unit.items() if not done]
        if not unfinished:
            return None
        scope, crashed = unfinished[0]
        workload[scope][crashed] = True
        self.workqueue.update({scope: unit for scope, unit in workload.items() if not all(unit.values())})
        for other in self.assigned_work:
            if other in self.registered_collections:  # it may be one that has just been started, for another crash
                self._reschedule(other)
        return crashed

    def _reschedule(self, node) -> None:
        """Gives a worker files until it has three tests, and ends it after these if none is left for another.

        A worker begins a test when it knows the next, or that there is none: with one alone it would wait for ever.
        """
        if node.shutting_down:
            return
        while self.workqueue and self._pending_of(self.assigned_work[node]) <= 2:
            self._assign_work_unit(node)
        if not self.workqueue:
            node.shutdown()

    def _assign_work_unit(self, node) -> None:
        """Gives a worker the longest file that is left."""
        ranks = {path: rank for rank, path in enumerate(_LONGEST)}
        first = min(self.workqueue, key=lambda path: ranks.get(path, len(ranks)))
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

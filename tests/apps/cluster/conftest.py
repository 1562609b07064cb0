"""What tests of a cluster share: two workers of Ray on this machine, and an S3 server on loopback."""

import logging
import os
import pathlib

import pytest

_TESTS = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def s3():
    """The address of a bucket, whose server and keys are in the environment."""
    pytest.importorskip("s3fs", reason="the extra `cluster` is not installed")
    server = pytest.importorskip("moto.server", reason="the extra `cluster-test` is not installed")
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # which tells of each request
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    address, port = running.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{address}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    running.stop()


@pytest.fixture(scope="session")
def workers(s3):
    """Ray with two workers; it gets the environment of now, with S3's."""
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(_TESTS.parent), str(_TESTS)]))  # where actors find `helpers`
        ray.init(num_cpus=4, num_gpus=0, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
        yield
        ray.shutdown()
